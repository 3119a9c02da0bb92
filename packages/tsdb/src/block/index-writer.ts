/**
 * Writes an index of version 2 (Prometheus, tsdb/docs/format/index.md).
 *
 * Series are added in order and kept as numbers: the symbols, which the file holds first, are only known at the end.
 * That takes some 150 bytes of memory a series. `finish` sorts the symbols and writes
 *
 *   header | symbols | series, each padded to 16 | postings, each padded to 4 | postings offset table | TOC
 */

import { setImmediate as nextTurn } from "node:timers/promises";
import { ByteWriter, crc32c as crc } from "@torus/encoding";
import { compareLabels, compareStrings, formatLabels, type Labels } from "@torus/model";
import { FileWriter } from "./file-writer.ts";

const MAGIC = 0xbaaad700;
/** How many are written before other work is let in: some milliseconds each. */
const SLICE_SERIES = 2048;
const SLICE_PAIRS = 65_536;
const SURROGATE = /[\ud800-\udfff]/;
const VERSION = 2;

export type IndexedChunk = { minTime: number; maxTime: number; ref: number };

/** What Prometheus' writer refuses too: series out of order, overlapping chunks, references that go down. */
export class IndexOrderError extends Error {
  constructor(what: string, labels: Labels) {
    super(`index series ${formatLabels(labels)}: ${what}`);
    this.name = "IndexOrderError";
  }
}

/** Numbers that are added at the end; plain arrays of this length would cost twice as much. */
class Column<T extends Uint32Array | Float64Array> {
  #values: T;
  readonly #make: (length: number) => T;
  length = 0;

  constructor(make: (length: number) => T) {
    this.#make = make;
    this.#values = make(1024);
  }

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = this.#make(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.length++] = value;
  }

  get values(): T {
    return this.#values;
  }
}

const words = (length: number) => new Uint32Array(length);
const doubles = (length: number) => new Float64Array(length);

export class IndexWriter {
  readonly #symbols = new Map<string, number>([["", 0]]);
  /** For each series: number of labels, number of chunks; its labels and chunks follow in the columns below. */
  readonly #shape = new Column(words);
  /** Symbol numbers (in order of first use) of name and value in turn. */
  readonly #labels = new Column(words);
  /** minTime, maxTime, ref in turn. */
  readonly #chunks = new Column(doubles);
  #last: Labels | null = null;
  #lastRef = -1;

  get seriesCount(): number {
    return this.#shape.length / 2;
  }

  get chunkCount(): number {
    return this.#chunks.length / 3;
  }

  /** @throws {IndexOrderError} */
  add(labels: Labels, chunks: readonly IndexedChunk[]): void {
    if (this.#last !== null && compareLabels(this.#last, labels) >= 0) {
      throw new IndexOrderError(`it does not sort after ${formatLabels(this.#last)}`, labels);
    }
    let previousMax = Number.NEGATIVE_INFINITY;
    for (const { minTime, maxTime, ref } of chunks) {
      if (minTime <= previousMax) {
        throw new IndexOrderError(
          `chunk from ${minTime} begins before ${previousMax} ends`,
          labels,
        );
      }
      if (ref <= this.#lastRef)
        throw new IndexOrderError(`chunk reference ${ref} goes down`, labels);
      previousMax = maxTime;
      this.#lastRef = ref;
    }
    this.#last = labels;
    this.#shape.push(labels.length / 2);
    this.#shape.push(chunks.length);
    for (const symbol of labels) this.#labels.push(this.#symbol(symbol));
    for (const { minTime, maxTime, ref } of chunks) {
      this.#chunks.push(minTime);
      this.#chunks.push(maxTime);
      this.#chunks.push(ref);
    }
  }

  #symbol(text: string): number {
    let number = this.#symbols.get(text);
    if (number === undefined) {
      number = this.#symbols.size;
      this.#symbols.set(text, number);
    }
    return number;
  }

  /** Writes the file at `path`, synced. Lets other work in between: the index of many series takes seconds. */
  async finish(path: string): Promise<void> {
    const file = new FileWriter(path);
    try {
      await this.#write(file);
    } catch (error) {
      file.abandon();
      throw error;
    }
    file.finish();
  }

  async #write(file: FileWriter): Promise<void> {
    const out = new ByteWriter(1 << 16);
    out.u32(MAGIC);
    out.u8(VERSION);
    file.drain(out);

    const symbols = [...this.#symbols.keys()];
    // Without surrogates the order of UTF-16 units is that of bytes, and the engine's own sort is faster.
    if (symbols.some((text) => SURROGATE.test(text))) symbols.sort(compareStrings);
    else symbols.sort();
    await nextTurn();
    const sortedNumber = new Uint32Array(symbols.length);
    symbols.forEach((text, i) => {
      sortedNumber[this.#symbols.get(text) as number] = i;
    });
    const symbolsAt = file.position;
    section(file, out, () => {
      out.u32(symbols.length);
      for (const text of symbols) out.string(text);
    });

    const seriesAt = file.position;
    const ids = await this.#writeSeries(file, out, sortedNumber);
    const seriesEnd = file.position;
    file.pad(4);
    const table = await this.#writePostings(file, out, symbols, sortedNumber, ids);
    const tableAt = file.position;
    section(file, out, () => {
      out.u32(table.length);
      for (const [name, value, at] of table) {
        out.uvarint(2);
        out.string(name);
        out.string(value);
        out.uvarint(at);
      }
    });

    file.beginChecksum();
    // Label index sections are not written any more: their places say where the series end, as in Prometheus.
    for (const at of [symbolsAt, seriesAt, seriesEnd, tableAt, seriesEnd, tableAt]) out.u64(at);
    file.drain(out);
    out.u32(file.checksum);
    file.drain(out);
  }

  /** @returns The ids (offset / 16) of the series, in order. */
  async #writeSeries(
    file: FileWriter,
    out: ByteWriter,
    sortedNumber: Uint32Array,
  ): Promise<Uint32Array> {
    const ids = new Uint32Array(this.seriesCount);
    const body = new ByteWriter(1 << 12);
    const labels = this.#labels.values;
    const chunks = this.#chunks.values;
    let label = 0;
    let chunk = 0;
    let at = file.position;
    for (let i = 0; i < ids.length; i++) {
      if (i % SLICE_SERIES === SLICE_SERIES - 1) await nextTurn();
      const labelCount = this.#shape.values[2 * i] as number;
      const chunkCount = this.#shape.values[2 * i + 1] as number;
      body.reset();
      body.uvarint(labelCount);
      for (let end = label + 2 * labelCount; label < end; label++) {
        body.uvarint(sortedNumber[labels[label] as number] as number);
      }
      body.uvarint(chunkCount);
      let previousMax = 0;
      let previousRef = 0;
      for (let n = 0; n < chunkCount; n++, chunk += 3) {
        const minTime = chunks[chunk] as number;
        const maxTime = chunks[chunk + 1] as number;
        const ref = chunks[chunk + 2] as number;
        if (n === 0) {
          body.varint(minTime);
          body.uvarint(maxTime - minTime);
          body.uvarint(ref);
        } else {
          body.uvarint(minTime - previousMax);
          body.uvarint(maxTime - minTime);
          body.varint(ref - previousRef);
        }
        previousMax = maxTime;
        previousRef = ref;
      }
      const padding = (16 - (at % 16)) % 16;
      out.zeros(padding);
      const start = out.length;
      ids[i] = (at + padding) / 16;
      out.uvarint(body.length);
      const bodyAt = out.length;
      out.bytes(body.written);
      out.u32(crc(out.written.subarray(bodyAt)));
      at += padding + out.length - start;
      if (out.length >= 1 << 16) file.drain(out);
    }
    file.drain(out);
    return ids;
  }

  /** @returns The entries of the offset table, sorted. */
  async #writePostings(
    file: FileWriter,
    out: ByteWriter,
    symbols: readonly string[],
    sortedNumber: Uint32Array,
    ids: Uint32Array,
  ): Promise<[name: string, value: string, at: number][]> {
    // A pair is known by the sorted numbers of its name and value; a list is filled by a counting sort.
    const labels = this.#labels.values;
    const pairs = new Map<number, number>();
    const pairOf = new Uint32Array(this.#labels.length / 2);
    const counts: number[] = [];
    for (let i = 0; i < pairOf.length; i++) {
      if (i % SLICE_PAIRS === SLICE_PAIRS - 1) await nextTurn();
      const name = sortedNumber[labels[2 * i] as number] as number;
      const value = sortedNumber[labels[2 * i + 1] as number] as number;
      const key = name * 2 ** 26 + value;
      let pair = pairs.get(key);
      if (pair === undefined) {
        pair = pairs.size;
        pairs.set(key, pair);
        counts.push(0);
      }
      pairOf[i] = pair;
      (counts[pair] as number)++;
    }
    const begins = new Uint32Array(counts.length + 1);
    for (let i = 0; i < counts.length; i++) {
      begins[i + 1] = (begins[i] as number) + (counts[i] as number);
    }
    const lists = new Uint32Array(pairOf.length);
    const filled = begins.slice();
    let label = 0;
    for (let i = 0; i < ids.length; i++) {
      for (let n = this.#shape.values[2 * i] as number; n > 0; n--) {
        const pair = pairOf[label++] as number;
        lists[filled[pair] as number] = ids[i] as number;
        (filled[pair] as number)++;
      }
    }

    const table: [string, string, number][] = [];
    const write = (name: string, value: string, list: Uint32Array) => {
      table.push([name, value, file.position]);
      section(file, out, () => {
        out.u32(list.length);
        for (const id of list) out.u32(id);
      });
      file.pad(4);
    };
    write("", "", ids);
    // Numbers sort several times faster in a typed array.
    for (const key of Float64Array.from(pairs.keys()).sort()) {
      if (table.length % SLICE_SERIES === 0) await nextTurn();
      const pair = pairs.get(key) as number;
      const name = symbols[Math.floor(key / 2 ** 26)] as string;
      const value = symbols[key % 2 ** 26] as string;
      write(name, value, lists.subarray(begins[pair], begins[pair + 1]));
    }
    return table;
  }
}

/** u32 length, what `fill` puts into `out`, and its checksum. */
function section(file: FileWriter, out: ByteWriter, fill: () => void): void {
  out.u32(0);
  fill();
  out.setU32(0, out.length - 4);
  out.u32(crc(out.written.subarray(4)));
  file.drain(out);
}
