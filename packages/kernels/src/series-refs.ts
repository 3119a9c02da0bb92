/**
 * A sender's own numbers for the series of one tenant, and where the ring puts them: finding a series' number by its
 * bytes costs less than hashing it, and a record names it by four bytes instead of hundreds.
 *
 *   const refs = new SeriesRefs(limit);
 *   const found = refs.find(request);          // numbers and sections of all entries
 *   const rows = refs.rows(request, found, chosen, registered);
 *
 * Numbers count up from 0 and are never given out twice; the labels of each stay until `free`.
 */

import { type Kernel, kernel, SLACK_BYTES } from "./load.ts";
import { SERIES_WORDS, SeriesWord } from "./write-request.ts";
import { DETAIL_BYTES, type WriteRequestBuffer } from "./write-request-buffer.ts";

/** Instead of a number: the labels are not in the form that is numbered, or there are too many series. */
export const NO_NUMBER = 0xffffffff;

/** Memory below which no further series is numbered: the head needs it more. */
const SPARE_BYTES = 512 << 20;
const LABELS = 0;
const LENGTH = 1;
const SECTION = 4;
/** Bytes of a plain sample in a request, at least. */
const LEAST_SAMPLE_BYTES = 13;
const MOST_ROW_BYTES = 23;
const MOST_START_BYTES = 15;

/** What the kernel found: (number, section) of each entry of a request. Valid until the next `find`. */
export type FoundSeries = {
  /** Two words an entry: the number or NO_NUMBER, the section or -1. */
  readonly words: Int32Array;
  readonly address: number;
  /** Entries whose section is not known. */
  readonly open: number;
  /** `SeriesFlag` bits that any entry has. */
  readonly flags: number;
};

export type NumberedRows = {
  rows: number;
  /** First row's time, in ms. */
  baseTime: bigint;
  /** The rows, in the kernel's memory until the next call. */
  bytes: Uint8Array;
  /** Start timestamps of rows that have one, as long as `bytes`. */
  starts: Uint8Array;
  /** The entry of each row. */
  order: Uint32Array;
  /** Entries that need their labels, or more than rows can tell. */
  rest: Uint32Array;
};

/**
 * The ring's hash of one entry, as a walk with the tenant's name would have it: low and high half.
 *
 * @param tenant The tenant's name in UTF-8.
 */
export function entryHash(
  request: WriteRequestBuffer,
  index: number,
  tenant: Uint8Array,
): readonly [low: number, high: number] {
  const k = kernel();
  const at = room(k, areas.hash, ENTRY_AREA + tenant.length + SLACK_BYTES);
  k.bytes.set(tenant, at + ENTRY_AREA);
  const table = request.series;
  const start = table[index * SERIES_WORDS + SeriesWord.START] as number;
  const end = start + (table[index * SERIES_WORDS + SeriesWord.LENGTH] as number);
  const detail = at + SERIES_WORDS * 4;
  k.exports.walkRequest(start, end, at + ENTRY_AREA, tenant.length, at, detail, 0, 1, 0);
  const words = k.words;
  return [
    words[(at >>> 2) + SeriesWord.HASH_LOW] as number,
    words[(at >>> 2) + SeriesWord.HASH_HIGH] as number,
  ];
}

/** One entry of each of a request's two tables. */
const ENTRY_AREA = SERIES_WORDS * 4 + DETAIL_BYTES + 16;

/** Areas that all calls use in turn: from find to the last rows of a request is one synchronous step. */
const areas = {
  found: { at: 0, size: 0 },
  chosen: { at: 0, size: 0 },
  rows: { at: 0, size: 0 },
  starts: { at: 0, size: 0 },
  order: { at: 0, size: 0 },
  rest: { at: 0, size: 0 },
  hash: { at: 0, size: 0 },
};
const KEPT_BYTES = 4 << 20;

function room(k: Kernel, area: { at: number; size: number }, bytes: number): number {
  if (bytes <= area.size) return area.at;
  if (area.size > 0) k.free(area.at, area.size);
  area.size = 0;
  const size = Math.max(4096, k.exports.roundedSize(bytes) >>> 0);
  area.at = k.alloc(size);
  area.size = size;
  return area.at;
}

/** Gives back what an unusually large request needed. */
export function shrinkSeriesRefAreas(): void {
  const k = kernel();
  for (const area of Object.values(areas)) {
    if (area.size <= KEPT_BYTES) continue;
    k.free(area.at, area.size);
    area.size = 0;
  }
}

export class SeriesRefs {
  readonly #kernel = kernel();
  readonly #refs: number;
  readonly #limit: number;
  #freed = false;

  /** @param limit Series that are numbered at most. */
  constructor(limit: number) {
    this.#limit = limit;
    this.#refs = this.#kernel.exports.refsNew() >>> 0;
    if (this.#refs === 0) throw new Error("no kernel memory for series numbers");
  }

  get count(): number {
    return this.#kernel.exports.refsCount(this.#refs);
  }

  get isFull(): boolean {
    return this.count >= this.#limit;
  }

  /** Looks up every entry of the walked request, numbering new series. */
  find(request: WriteRequestBuffer, generation: number): FoundSeries {
    const k = this.#kernel;
    const { count } = request;
    const address = room(k, areas.found, count * 8);
    const limit = k.exports.arenaBytesFree() < SPARE_BYTES ? 0 : this.#limit;
    const open = k.exports.refsFind(
      this.#refs,
      request.tableAddress,
      request.detailAddress,
      count,
      limit,
      generation,
      address,
    );
    const words = new Int32Array(k.memory.buffer, address, count * 2);
    return { words, address, open, flags: k.exports.refsFlags() >>> 0 };
  }

  setSection(number: number, section: number): void {
    const k = this.#kernel;
    k.words[(this.#entry(number) >>> 2) + SECTION] = section;
  }

  forgetSections(): void {
    this.#kernel.exports.refsForgetSections(this.#refs);
  }

  /** How many of the numbered series were seen in this generation or later. */
  seenSince(generation: number): number {
    return this.#kernel.exports.refsSeenSince(this.#refs, generation);
  }

  /**
   * The samples of entries as rows.
   *
   * @param chosen Indexes of entries; null for all.
   * @param startTimes Whether start timestamps are to be written; they are left out otherwise.
   */
  rows(
    request: WriteRequestBuffer,
    found: FoundSeries,
    chosen: Uint32Array | null,
    registered: RegisteredSeries,
    startTimes: boolean,
  ): NumberedRows {
    const k = this.#kernel;
    const entries = chosen === null ? request.count : chosen.length;
    const most = Math.ceil(request.bodyLength / LEAST_SAMPLE_BYTES) + 1;
    const registeredAt = registered.ensure(this.count);
    const to = room(k, areas.rows, most * MOST_ROW_BYTES + 64);
    const starts = startTimes ? room(k, areas.starts, most * MOST_START_BYTES + 64) : 0;
    k.exports.refsStartsInto(starts);
    const order = room(k, areas.order, most * 4);
    const rest = room(k, areas.rest, entries * 4 + 4);
    let chosenAt = 0;
    if (chosen !== null) {
      chosenAt = room(k, areas.chosen, entries * 4 + 4);
      k.words.set(chosen, chosenAt >>> 2);
    }
    const rows = k.exports.refsRows(
      request.tableAddress,
      request.detailAddress,
      chosenAt,
      entries,
      found.address,
      registeredAt,
      to,
      order,
      rest,
    );
    return {
      rows,
      baseTime: k.exports.refsBaseTime(),
      bytes: k.bytes.subarray(to, k.exports.refsRowsEnd() >>> 0),
      starts: k.bytes.subarray(starts, k.exports.refsStartsEnd() >>> 0),
      order: k.words.slice(order >>> 2, (order >>> 2) + rows),
      rest: k.words.slice(rest >>> 2, (rest >>> 2) + k.exports.refsRest()),
    };
  }

  /** The Label fields of a numbered series; a view. */
  labels(number: number): Uint8Array {
    const k = this.#kernel;
    const at = this.#entry(number) >>> 2;
    const from = k.words[at + LABELS] as number;
    return k.bytes.subarray(from, from + (k.words[at + LENGTH] as number));
  }

  /** Gives the memory back; the object is not used again. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#kernel.exports.refsFree(this.#refs);
  }

  #entry(number: number): number {
    if (this.#freed || number >= this.count) throw new RangeError(`series number ${number}`);
    return this.#kernel.exports.refsEntry(this.#refs, number) >>> 0;
  }
}

/** Which numbers one receiver knows: a byte each in the kernel's memory. */
export class RegisteredSeries {
  readonly #kernel = kernel();
  #at = 0;
  #size = 0;

  /** Room for numbers below `count`; the address, valid until the next call. */
  ensure(count: number): number {
    if (count <= this.#size) return this.#at;
    const k = this.#kernel;
    const size = k.exports.roundedSize(Math.max(1024, count * 2)) >>> 0;
    const at = k.alloc(size);
    k.bytes.fill(0, at, at + size);
    if (this.#size > 0) k.bytes.copyWithin(at, this.#at, this.#at + this.#size);
    this.free();
    this.#at = at;
    this.#size = size;
    return at;
  }

  set(number: number, known: boolean): void {
    this.ensure(number + 1);
    this.#kernel.bytes[this.#at + number] = known ? 1 : 0;
  }

  has(number: number): boolean {
    return number < this.#size && this.#kernel.bytes[this.#at + number] === 1;
  }

  free(): void {
    if (this.#size > 0) this.#kernel.free(this.#at, this.#size);
    this.#at = 0;
    this.#size = 0;
  }
}
