/**
 * Writes an index of version 2 (Prometheus, tsdb/docs/format/index.md) whose symbols and order of series are known
 * before its first byte: each series goes to the file when its chunks are known, and nothing of them is kept.
 *
 *   header | symbols | series, each padded to 16 | postings, each padded to 4 | postings offset table | TOC
 */

import { ByteWriter, crc32c } from "@torus/encoding";
import { FileWriter } from "../block/file-writer.ts";
import type { SeriesRows } from "./series-rows.ts";

const MAGIC = 0xbaaad700;
const VERSION = 2;
const DRAIN_BYTES = 1 << 18;

export class IndexStream {
  readonly #rows: SeriesRows;
  readonly #file: FileWriter;
  readonly #out = new ByteWriter(DRAIN_BYTES * 2);
  readonly #body = new ByteWriter(1 << 12);
  readonly #symbolsAt: number;
  readonly #seriesAt: number;
  /** Offset / 16 of each series, in order. */
  readonly #ids: Uint32Array;
  /** Where the next byte of the file goes, that of `#out` included. */
  #at: number;
  seriesCount = 0;
  chunkCount = 0;

  constructor(path: string, rows: SeriesRows) {
    this.#rows = rows;
    this.#ids = new Uint32Array(rows.order.length);
    this.#file = new FileWriter(path);
    const out = this.#out;
    out.u32(MAGIC);
    out.u8(VERSION);
    this.#file.drain(out);
    this.#symbolsAt = this.#file.position;
    out.u32(0);
    out.u32(rows.symbols.length);
    for (const text of rows.symbols) out.string(text);
    this.#endSection();
    this.#seriesAt = this.#file.position;
    this.#at = this.#seriesAt;
  }

  /**
   * The next series of the order, by its index, with its chunks in order of time.
   *
   * @param times First and last time (ms) of each chunk in turn.
   */
  add(series: number, chunks: number, times: Float64Array, refs: Float64Array): void {
    const { starts, pairs, pairNames, pairValues } = this.#rows;
    const body = this.#body;
    body.reset();
    const end = starts[series + 1] as number;
    let at = starts[series] as number;
    body.uvarint(end - at);
    for (; at < end; at++) {
      const pair = pairs[at] as number;
      body.uvarint(pairNames[pair] as number);
      body.uvarint(pairValues[pair] as number);
    }
    body.uvarint(chunks);
    let last = 0;
    let lastRef = 0;
    for (let i = 0; i < chunks; i++) {
      const minTime = times[2 * i] as number;
      const maxTime = times[2 * i + 1] as number;
      const ref = refs[i] as number;
      if (i === 0) {
        body.varint(minTime);
        body.uvarint(maxTime - minTime);
        body.uvarint(ref);
      } else {
        body.uvarint(minTime - last);
        body.uvarint(maxTime - minTime);
        body.varint(ref - lastRef);
      }
      last = maxTime;
      lastRef = ref;
    }
    const out = this.#out;
    const padding = (16 - (this.#at % 16)) % 16;
    const before = out.length;
    out.zeros(padding);
    this.#ids[this.seriesCount++] = (this.#at + padding) / 16;
    out.uvarint(body.length);
    out.bytes(body.written);
    out.u32(crc32c(body.written));
    this.#at += out.length - before;
    this.chunkCount += chunks;
    if (out.length >= DRAIN_BYTES) this.#file.drain(out);
  }

  /** Writes the rest, synced. Every series of the order was added. */
  finish(): void {
    const file = this.#file;
    const out = this.#out;
    file.drain(out);
    const seriesEnd = file.position;
    file.pad(4);
    const table = new ByteWriter(1 << 16);
    table.u32(0);
    const count = this.#writePostings(table);
    const tableAt = file.position;
    out.u32(0);
    out.u32(count);
    out.bytes(table.written.subarray(4));
    this.#endSection();
    file.beginChecksum();
    // Label index sections are not written any more: their places say where the series end, as in Prometheus.
    for (const at of [this.#symbolsAt, this.#seriesAt, seriesEnd, tableAt, seriesEnd, tableAt]) {
      out.u64(at);
    }
    file.drain(out);
    out.u32(file.checksum);
    file.drain(out);
    file.finish();
  }

  abandon(): void {
    this.#file.abandon();
  }

  /** @returns The number of entries in `table`. */
  #writePostings(table: ByteWriter): number {
    const { symbols, starts, pairs, pairNames, pairValues, order } = this.#rows;
    const file = this.#file;
    const out = this.#out;
    const pairCount = pairNames.length;
    const ends = new Uint32Array(pairCount + 1);
    const used = starts[order.length] as number;
    for (let i = 0; i < used; i++) {
      const next = (pairs[i] as number) + 1;
      ends[next] = (ends[next] as number) + 1;
    }
    for (let i = 0; i < pairCount; i++) {
      ends[i + 1] = (ends[i + 1] as number) + (ends[i] as number);
    }
    const lists = new Uint32Array(used);
    // `ends[pair]` is where the list begins until it is filled, and where it ends then.
    for (let i = 0; i < order.length; i++) {
      const series = order[i] as number;
      const id = this.#ids[i] as number;
      const end = starts[series + 1] as number;
      for (let at = starts[series] as number; at < end; at++) {
        const pair = pairs[at] as number;
        const to = ends[pair] as number;
        lists[to] = id;
        ends[pair] = to + 1;
      }
    }
    const write = (name: string, value: string, list: Uint32Array) => {
      table.uvarint(2);
      table.string(name);
      table.string(value);
      table.uvarint(file.position + out.length);
      const from = out.length;
      out.u32(list.length * 4 + 4);
      out.u32(list.length);
      for (let i = 0; i < list.length; i++) out.u32(list[i] as number);
      out.u32(crc32c(out.written.subarray(from + 4)));
      if (out.length >= DRAIN_BYTES) file.drain(out);
    };
    write("", "", this.#ids);
    for (let pair = 0, from = 0; pair < pairCount; pair++) {
      const end = ends[pair] as number;
      const name = symbols[pairNames[pair] as number] as string;
      const value = symbols[pairValues[pair] as number] as string;
      write(name, value, lists.subarray(from, end));
      from = end;
    }
    file.drain(out);
    return pairCount + 1;
  }

  /** Sets the length of the section that `#out` holds, adds its checksum, and writes it. */
  #endSection(): void {
    const out = this.#out;
    out.setU32(0, out.length - 4);
    out.u32(crc32c(out.written.subarray(4)));
    this.#file.drain(out);
  }
}
