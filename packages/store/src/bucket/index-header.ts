/**
 * The part of a block's index that every query needs: its symbols, and where each postings list is. It is fetched
 * once by ranges and kept in `--data-dir`, in Thanos' index-header format (Thanos, docs/storage.md):
 *
 *     u32 baaad792 | u8 1 | u8 index version | u64 offset of the postings offset table in the index
 *     symbols section | postings offset table section      as they stand in the index, with length and CRC
 *     u64 offset of symbols | u64 offset of the table       in this file
 *     u32 CRC over the two offsets
 *
 * In memory it stays the bytes of that file, with the place of every 32nd symbol and of every 32nd postings entry.
 */

import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm } from "node:fs/promises";
import path from "node:path";
import type { BlockMeta } from "@torus/block";
import { INDEX_FILE } from "@torus/block";
import { ByteReader, crc32c, decodeUtf8 } from "@torus/encoding";
import type { Bucket } from "@torus/objstore";
import { BlockFileDamagedError, checkCrc, decoding } from "./index-bytes.ts";

const HEADER_MAGIC = 0xbaaad792;
const INDEX_MAGIC = 0xbaaad700;
const HEADER_BYTES = 14;
const HEADER_TOC_BYTES = 20;
const INDEX_TOC_BYTES = 52;
/** Both sections are limited to 2^32 by the format; we hold them in memory and accept less. */
const MAX_SECTION_BYTES = 1 << 30;
const SAMPLE = 32;
/** Decoded symbols kept per block. */
const MAX_KEPT_SYMBOLS = 1 << 16;

/** Where a postings list lies: [start, end) holds length, list and checksum, and perhaps padding behind. */
export type PostingsPlace = { start: number; end: number };

export class IndexHeader {
  readonly sizeBytes: number;
  readonly labelNames: readonly string[];
  /** Ends of the postings area: that is where the last list ends at the latest. */
  readonly #tableOffset: number;
  readonly #symbols: Uint8Array;
  readonly #symbolCount: number;
  readonly #symbolPlaces: Uint32Array;
  readonly #entries: Uint8Array;
  readonly #entryCount: number;
  readonly #entryPlaces: Uint32Array;
  readonly #names = new Map<string, { first: number; count: number }>();
  readonly #what: string;
  #kept = new Map<number, string>();

  /** @throws {BlockFileDamagedError} or an error of `ByteReader`, for `decoding` to name. */
  constructor(file: Uint8Array, what: string) {
    this.#what = what;
    this.sizeBytes = file.length;
    const head = new ByteReader(file);
    if (head.u32() !== HEADER_MAGIC) throw new BlockFileDamagedError(`${what}: wrong magic number`);
    const version = head.u8();
    const indexVersion = head.u8();
    if (version !== 1 || indexVersion !== 2) {
      throw new BlockFileDamagedError(
        `${what}: header version ${version}, index version ${indexVersion}; 1 and 2 are supported`,
      );
    }
    this.#tableOffset = head.u64();
    const tocAt = file.length - HEADER_TOC_BYTES;
    if (tocAt < HEADER_BYTES) throw new BlockFileDamagedError(`${what}: ${file.length} bytes`);
    checkCrc(file.subarray(tocAt), 0, `${what}: its table of contents`);
    const toc = new ByteReader(file, tocAt);
    const symbolsAt = toc.u64();
    const entriesAt = toc.u64();
    if (symbolsAt > entriesAt || entriesAt > tocAt) {
      throw new BlockFileDamagedError(`${what}: sections at ${symbolsAt} and ${entriesAt}`);
    }
    this.#symbols = section(file.subarray(symbolsAt, entriesAt), `${what}: symbols`);
    this.#entries = section(file.subarray(entriesAt, tocAt), `${what}: postings table`);

    const symbols = new ByteReader(this.#symbols);
    this.#symbolCount = symbols.u32();
    if (this.#symbolCount > symbols.remaining) this.#fail(`${this.#symbolCount} symbols`);
    this.#symbolPlaces = new Uint32Array(Math.ceil(this.#symbolCount / SAMPLE));
    for (let i = 0; i < this.#symbolCount; i++) {
      if (i % SAMPLE === 0) this.#symbolPlaces[i / SAMPLE] = symbols.offset;
      symbols.lengthPrefixed();
    }

    const entries = new ByteReader(this.#entries);
    this.#entryCount = entries.u32();
    if (this.#entryCount > entries.remaining / 4)
      this.#fail(`${this.#entryCount} postings entries`);
    this.#entryPlaces = new Uint32Array(Math.ceil(this.#entryCount / SAMPLE));
    const names: string[] = [];
    let name = "";
    let nameBytes: Uint8Array | undefined;
    let range = { first: 0, count: 0 };
    for (let i = 0; i < this.#entryCount; i++) {
      if (i % SAMPLE === 0) this.#entryPlaces[i / SAMPLE] = entries.offset;
      if (entries.uvarint() !== 2) this.#fail(`postings entry ${i} has not two strings`);
      const bytes = entries.lengthPrefixed();
      if (nameBytes === undefined || Buffer.compare(bytes, nameBytes) !== 0) {
        nameBytes = bytes;
        name = decodeUtf8(bytes);
        range = { first: i, count: 0 };
        this.#names.set(name, range);
        if (name !== "") names.push(name);
      }
      range.count++;
      entries.lengthPrefixed();
      entries.uvarint();
    }
    this.labelNames = names;
  }

  /** @throws {BlockFileDamagedError} when there is no such symbol. */
  symbol(index: number): string {
    const kept = this.#kept.get(index);
    if (kept !== undefined) return kept;
    if (index >= this.#symbolCount) this.#fail(`symbol ${index} of ${this.#symbolCount}`);
    const place = this.#symbolPlaces[Math.floor(index / SAMPLE)] ?? 0;
    const bytes = new ByteReader(this.#symbols, place);
    for (let i = index - (index % SAMPLE); i < index; i++) bytes.lengthPrefixed();
    const text = decodeUtf8(bytes.lengthPrefixed());
    if (this.#kept.size >= MAX_KEPT_SYMBOLS) this.#kept = new Map();
    this.#kept.set(index, text);
    return text;
  }

  /** The values of a label in byte order. */
  labelValues(name: string): string[] {
    const values: string[] = [];
    this.#scan(name, (value) => {
      values.push(decodeUtf8(value));
    });
    return values;
  }

  /** The lists of those values of a label that `accepts` takes, in byte order of the values. */
  postingsWhere(name: string, accepts: (value: string) => boolean): PostingsPlace[] {
    const places: PostingsPlace[] = [];
    this.#scan(name, (value, place) => {
      if (accepts(decodeUtf8(value))) places.push(place());
    });
    return places;
  }

  /** The list of one pair; ("", "") is that of all series. */
  postings(name: string, value: string): PostingsPlace | undefined {
    const range = this.#names.get(name);
    if (range === undefined) return undefined;
    const wanted = Buffer.from(value);
    // The last sampled entry of this name that is not above the value.
    let low = Math.floor(range.first / SAMPLE);
    let high = Math.floor((range.first + range.count - 1) / SAMPLE);
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      // A sampled entry of this name: only the first sample of the range can be of the name before.
      const entry = this.#entryAt(middle * SAMPLE);
      if (Buffer.compare(entry.value, wanted) <= 0) low = middle;
      else high = middle - 1;
    }
    let found: PostingsPlace | undefined;
    const from = Math.max(range.first, low * SAMPLE);
    this.#walk(from, Math.min(range.first + range.count, (low + 1) * SAMPLE), (bytes, place) => {
      const order = Buffer.compare(bytes, wanted);
      if (order === 0) found = place();
      return order < 0;
    });
    return found;
  }

  #scan(name: string, visit: (value: Uint8Array, place: () => PostingsPlace) => void): void {
    const range = this.#names.get(name);
    if (range === undefined) return;
    this.#walk(range.first, range.first + range.count, (value, place) => {
      visit(value, place);
      return true;
    });
  }

  /** Visits entries [first, end) until `visit` returns false. */
  #walk(
    first: number,
    end: number,
    visit: (value: Uint8Array, place: () => PostingsPlace) => boolean,
  ): void {
    let entry = this.#entryAt(first);
    for (let i = first; i < end; i++) {
      const { start, next } = entry;
      const isLast = i + 1 >= this.#entryCount;
      const following = isLast ? undefined : this.#readEntry(next);
      // Lists are written in the order of the table, so a list ends where the next one begins.
      const place = () => this.#place(start, following?.start ?? this.#tableOffset);
      if (!visit(entry.value, place)) return;
      if (following === undefined) return;
      entry = following;
    }
  }

  #place(start: number, following: number): PostingsPlace {
    if (start >= this.#tableOffset) this.#fail(`a postings list at ${start}`);
    const end = following > start ? following : this.#tableOffset;
    return { start, end };
  }

  #entryAt(index: number): Entry {
    const place = this.#entryPlaces[Math.floor(index / SAMPLE)] ?? 0;
    let entry = this.#readEntry(place);
    for (let i = index - (index % SAMPLE); i < index; i++) entry = this.#readEntry(entry.next);
    return entry;
  }

  #readEntry(at: number): Entry {
    const bytes = new ByteReader(this.#entries, at);
    bytes.uvarint();
    bytes.lengthPrefixed();
    const value = bytes.lengthPrefixed();
    const start = bytes.uvarint();
    return { value, start, next: bytes.offset };
  }

  #fail(problem: string): never {
    throw new BlockFileDamagedError(`${this.#what}: ${problem}`);
  }
}

type Entry = { value: Uint8Array; start: number; next: number };

/** A section without its length and its checksum, which are checked. */
function section(bytes: Uint8Array, what: string): Uint8Array {
  const length = decoding(what, () => new ByteReader(bytes).u32());
  if (length + 8 > bytes.length) {
    throw new BlockFileDamagedError(`${what}: ${length} bytes said, ${bytes.length} there`);
  }
  checkCrc(bytes.subarray(0, length + 8), 4, what);
  return bytes.subarray(4, length + 4);
}

/**
 * Reads the header of a block from `dir`, or fetches it from the bucket and writes it there.
 *
 * @throws {BlockFileDamagedError} when the block's index is not one.
 */
export async function openIndexHeader(
  bucket: Bucket,
  meta: BlockMeta,
  dir: string,
  signal: AbortSignal,
): Promise<IndexHeader> {
  const file = path.join(dir, meta.ulid, "index-header");
  try {
    const copy = await readFile(file);
    return decoding(file, () => new IndexHeader(copy, file));
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    // A damaged copy is made anew from the bucket.
    if (!isMissing && !(error instanceof BlockFileDamagedError)) throw error;
  }
  const body = await fetchIndexHeader(bucket, meta, signal);
  const what = `index of block ${meta.ulid}`;
  const header = decoding(what, () => new IndexHeader(body, what));
  await mkdir(path.dirname(file), { recursive: true });
  const staged = `${file}.${randomUUID()}.tmp`;
  try {
    const handle = await open(staged, "wx");
    try {
      await handle.writeFile(body);
    } finally {
      await handle.close();
    }
    await rename(staged, file);
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
  return header;
}

async function fetchIndexHeader(
  bucket: Bucket,
  meta: BlockMeta,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const name = `${meta.ulid}/${INDEX_FILE}`;
  const said = meta.thanos?.files?.find((file) => file.rel_path === INDEX_FILE)?.size_bytes;
  const size = said ?? (await bucket.attributes(name, { signal })).sizeBytes;
  if (size < 5 + INDEX_TOC_BYTES) throw new BlockFileDamagedError(`${name}: ${size} bytes`);
  const [head, toc] = await Promise.all([
    bucket.getRange(name, 0, 5, { signal }),
    bucket.getRange(name, size - INDEX_TOC_BYTES, INDEX_TOC_BYTES, { signal }),
  ]);
  if (head.length !== 5 || toc.length !== INDEX_TOC_BYTES) {
    throw new BlockFileDamagedError(`${name}: it ends before its ${size} bytes`);
  }
  const start = new ByteReader(head);
  if (start.u32() !== INDEX_MAGIC) throw new BlockFileDamagedError(`${name}: wrong magic number`);
  const version = start.u8();
  if (version !== 2) throw new BlockFileDamagedError(`${name}: index version ${version}, not 2`);
  checkCrc(toc, 0, `${name}: its table of contents`);
  const places = new ByteReader(toc);
  const symbolsAt = places.u64();
  const seriesAt = places.u64();
  places.skip(24);
  const tableAt = places.u64();
  const tocAt = size - INDEX_TOC_BYTES;
  const isInOrder =
    symbolsAt >= 5 && seriesAt > symbolsAt && tableAt >= seriesAt && tableAt < tocAt;
  if (
    !isInOrder ||
    seriesAt - symbolsAt > MAX_SECTION_BYTES ||
    tocAt - tableAt > MAX_SECTION_BYTES
  ) {
    throw new BlockFileDamagedError(
      `${name}: symbols at ${symbolsAt}, series at ${seriesAt}, postings table at ${tableAt} of ${size} bytes`,
    );
  }
  const [symbols, table] = await Promise.all([
    bucket.getRange(name, symbolsAt, seriesAt - symbolsAt, { signal }),
    bucket.getRange(name, tableAt, tocAt - tableAt, { signal }),
  ]);
  const out = Buffer.alloc(HEADER_BYTES + symbols.length + table.length + HEADER_TOC_BYTES);
  out.writeUInt32BE(HEADER_MAGIC, 0);
  out[4] = 1;
  out[5] = version;
  out.writeBigUInt64BE(BigInt(tableAt), 6);
  out.set(symbols, HEADER_BYTES);
  out.set(table, HEADER_BYTES + symbols.length);
  const tocOut = HEADER_BYTES + symbols.length + table.length;
  out.writeBigUInt64BE(BigInt(HEADER_BYTES), tocOut);
  out.writeBigUInt64BE(BigInt(HEADER_BYTES + symbols.length), tocOut + 8);
  out.writeUInt32BE(crc32c(out.subarray(tocOut, tocOut + 16)), tocOut + 16);
  return out;
}
