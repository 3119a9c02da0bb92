/**
 * Reads an index (Prometheus, tsdb/docs/format/index.md) from its bytes, version 1 and 2. The sections' checksums are verified when
 * they are read, every offset and length before it is followed; what does not fit is an `IndexDamagedError`.
 */

import { ByteReader, crc32c, TruncatedError, VarintOverflowError } from "@torus/encoding";
import { compareStrings, type Labels } from "@torus/model";
import type { PostingsSource } from "../postings.ts";
import type { IndexedChunk } from "./index-writer.ts";

const MAGIC = 0xbaaad700;
const TOC_SIZE = 52;

export class IndexDamagedError extends Error {
  constructor(what: string, options?: ErrorOptions) {
    super(`read index: ${what}`, options);
    this.name = "IndexDamagedError";
  }
}

/** Runs a decoder; bytes that end too soon are damage of `what`. */
function decoding<T>(what: string, decode: () => T): T {
  try {
    return decode();
  } catch (error) {
    if (error instanceof TruncatedError || error instanceof VarintOverflowError) {
      throw new IndexDamagedError(`${what}: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

export type IndexToc = {
  symbols: number;
  series: number;
  labelIndices: number;
  labelOffsetTable: number;
  postings: number;
  postingsOffsetTable: number;
};

export class IndexReader implements PostingsSource {
  readonly bytes: Uint8Array;
  readonly version: number;
  readonly toc: IndexToc;
  readonly symbols: readonly string[];
  /** Version 1 refers to a symbol by where it stands in the file. */
  readonly #symbolAt: ReadonlyMap<number, number> | null;
  /** Where the postings list of each name and value stands. */
  readonly #lists: ReadonlyMap<string, ReadonlyMap<string, number>>;

  /** @param bytes The whole file; kept. @throws {IndexDamagedError} */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    if (bytes.length < 5 + TOC_SIZE)
      throw new IndexDamagedError(`${bytes.length} bytes are too few`);
    const header = new ByteReader(bytes);
    const magic = header.u32();
    if (magic !== MAGIC) throw new IndexDamagedError(`magic number ${magic.toString(16)}`);
    this.version = header.u8();
    if (this.version < 1 || this.version > 2) {
      throw new IndexDamagedError(`version ${this.version} is not known`);
    }
    const tocAt = bytes.length - TOC_SIZE;
    const toc = new ByteReader(bytes, tocAt);
    this.toc = {
      symbols: toc.u64(),
      series: toc.u64(),
      labelIndices: toc.u64(),
      labelOffsetTable: toc.u64(),
      postings: toc.u64(),
      postingsOffsetTable: toc.u64(),
    };
    if (toc.u32() !== crc32c(bytes.subarray(tocAt, bytes.length - 4))) {
      throw new IndexDamagedError("checksum of the table of contents does not match");
    }
    const places = this.version === 1 ? new Map<number, number>() : null;
    this.symbols = this.#readSymbols(places);
    this.#symbolAt = places;
    this.#lists = this.#readOffsetTable();
  }

  /** A reader of the section at `at`, its checksum verified. */
  #section(what: string, at: number): ByteReader {
    return decoding(what, () => {
      const { bytes } = this;
      if (at < 0 || at > bytes.length)
        throw new IndexDamagedError(`${what} at ${at}, past the end`);
      const reader = new ByteReader(bytes, at);
      const length = reader.u32();
      const body = reader.take(length);
      if (reader.u32() !== crc32c(body)) {
        throw new IndexDamagedError(`checksum of ${what} at ${at} does not match`);
      }
      return new ByteReader(bytes, at + 4, at + 4 + length);
    });
  }

  #readSymbols(places: Map<number, number> | null): string[] {
    const reader = this.#section("symbols", this.toc.symbols);
    return decoding("symbols", () => {
      const count = reader.u32();
      const out: string[] = [];
      for (let i = 0; i < count; i++) {
        places?.set(reader.offset, i);
        out.push(reader.string());
      }
      return out;
    });
  }

  #readOffsetTable(): Map<string, Map<string, number>> {
    const reader = this.#section("postings offset table", this.toc.postingsOffsetTable);
    return decoding("postings offset table", () => {
      const count = reader.u32();
      const out = new Map<string, Map<string, number>>();
      for (let i = 0; i < count; i++) {
        const strings = reader.uvarint();
        if (strings !== 2) throw new IndexDamagedError(`postings entry of ${strings} strings`);
        const name = reader.string();
        const value = reader.string();
        let values = out.get(name);
        if (values === undefined) {
          values = new Map();
          out.set(name, values);
        }
        values.set(value, reader.uvarint());
      }
      return out;
    });
  }

  all(): Uint32Array {
    return this.postings("", "");
  }

  /** Series ids (offset / 16 in version 2), ascending; empty when no series has the pair. */
  postings(name: string, value: string): Uint32Array {
    const at = this.#lists.get(name)?.get(value);
    if (at === undefined) return new Uint32Array(0);
    const reader = this.#section(`postings of ${name}=${JSON.stringify(value)}`, at);
    return decoding("postings", () => {
      const count = reader.u32();
      if (count * 4 !== reader.remaining) {
        throw new IndexDamagedError(`${count} postings in ${reader.remaining} bytes`);
      }
      const out = new Uint32Array(count);
      for (let i = 0; i < count; i++) {
        out[i] = reader.u32();
        if (i > 0 && (out[i] as number) <= (out[i - 1] as number)) {
          throw new IndexDamagedError(`postings of ${name} do not ascend`);
        }
      }
      return out;
    });
  }

  values(name: string): Iterable<string> {
    return name === "" ? [] : (this.#lists.get(name)?.keys() ?? []);
  }

  /** Ascending. */
  labelNames(): string[] {
    return [...this.#lists.keys()].filter((name) => name !== "").sort(compareStrings);
  }

  /** Labels and chunk references of the series with this id. @throws {IndexDamagedError} */
  series(id: number): { labels: Labels; chunks: IndexedChunk[] } {
    return decoding(`series ${id}`, () => {
      const at = this.version === 1 ? id : id * 16;
      if (at >= this.bytes.length) throw new IndexDamagedError(`series ${id} is past the end`);
      const outer = new ByteReader(this.bytes, at);
      const body = outer.lengthPrefixed();
      if (outer.u32() !== crc32c(body)) {
        throw new IndexDamagedError(`checksum of series ${id} does not match`);
      }
      const reader = new ByteReader(body);
      const labels: string[] = [];
      for (let n = 2 * reader.uvarint(); n > 0; n--)
        labels.push(this.#symbol(reader.uvarint(), id));
      const chunks: IndexedChunk[] = [];
      const count = reader.uvarint();
      let maxTime = 0;
      let ref = 0;
      for (let n = 0; n < count; n++) {
        const minTime = n === 0 ? reader.varint() : maxTime + reader.uvarint();
        maxTime = minTime + reader.uvarint();
        ref = n === 0 ? reader.uvarint() : ref + reader.varint();
        chunks.push({ minTime, maxTime, ref });
      }
      return { labels, chunks };
    });
  }

  #symbol(reference: number, id: number): string {
    const index = this.#symbolAt === null ? reference : this.#symbolAt.get(reference);
    const symbol = index === undefined ? undefined : this.symbols[index];
    if (symbol === undefined) {
      throw new IndexDamagedError(
        `series ${id} refers to symbol ${reference} of ${this.symbols.length}`,
      );
    }
    return symbol;
  }
}
