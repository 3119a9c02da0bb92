/**
 * Holds back new series of metrics that have as many as they may. Only where a limit is set: each entry's series is
 * looked for once more, and what is not there is counted by its `__name__`.
 */

import {
  DETAIL_BYTES,
  SERIES_WORDS,
  SeriesFlag,
  SeriesWord,
  Verdict,
  type WriteRequestBuffer,
} from "@torus/kernels";
import { appendAreas, type HeadState, MAX_LABEL_BYTES } from "./state.ts";

export type HeldBack = {
  /** The entries that may be appended. */
  chosen: Uint32Array;
  /** Samples of the others; their VERDICT and REJECTED words are filled. */
  floats: number;
  histograms: number;
};

const BAD_LABELS =
  SeriesFlag.UNSORTED |
  SeriesFlag.DUPLICATE_LABEL |
  SeriesFlag.EMPTY_LABEL |
  SeriesFlag.NO_LABELS |
  SeriesFlag.INVALID_UTF8;
const METRIC_NAME = "__name__";

/** @param chosen Indexes of entries; null for all. */
export function holdBack(
  state: HeadState,
  request: WriteRequestBuffer,
  chosen: Uint32Array | null,
  seriesPerMetric: number,
): HeldBack {
  const k = state.kernel;
  const table = request.series;
  const count = chosen === null ? request.count : chosen.length;
  const kept = new Uint32Array(count);
  let length = 0;
  let floats = 0;
  let histograms = 0;
  /** New series of this request, by their labels, and how many of them each metric has. */
  const coming = new Set<string>();
  const comingOf = new Map<string, number>();
  const mayCome = (index: number): boolean => {
    const word = (request.detailAddress + index * DETAIL_BYTES) >>> 2;
    const [from = 0, size = 0, , end = 0] = k.words.subarray(word, word + 4);
    if (findSeries(state, from, size, end) !== 0) return true;
    const { name, canonical } = readLabels(k.bytes, from, end);
    if (canonical.length > MAX_LABEL_BYTES) return true;
    const key = canonical.toString("latin1");
    if (coming.has(key)) return true;
    const already = comingOf.get(name) ?? 0;
    if (state.index.postings(METRIC_NAME, name).length + already >= seriesPerMetric) return false;
    coming.add(key);
    comingOf.set(name, already + 1);
    return true;
  };
  for (let i = 0; i < count; i++) {
    const index = chosen === null ? i : (chosen[i] as number);
    const at = index * SERIES_WORDS;
    const flags = table[at + SeriesWord.FLAGS] as number;
    const samples = table[at + SeriesWord.SAMPLES] as number;
    const hasHistograms = (flags & SeriesFlag.HISTOGRAMS) !== 0;
    // Entries without samples make no series, and those with bad labels are refused for these.
    if ((samples === 0 && !hasHistograms) || (flags & BAD_LABELS) !== 0 || mayCome(index)) {
      kept[length++] = index;
      continue;
    }
    const word = (request.detailAddress + index * DETAIL_BYTES) >>> 2;
    const [from = 0, , , end = 0] = k.words.subarray(word, word + 4);
    const more = hasHistograms ? countFields(k.bytes, from, end, HISTOGRAM_TAG) : 0;
    table[at + SeriesWord.VERDICT] = Verdict.SERIES_LIMIT;
    table[at + SeriesWord.REJECTED] = samples + more;
    floats += samples;
    histograms += more;
  }
  return { chosen: kept.subarray(0, length), floats, histograms };
}

/** The series of a request's entry, 0 when the head does not have it. Arguments as the entry's detail words. */
export function findSeries(state: HeadState, from: number, size: number, end: number): number {
  const { kernel: k, address } = state;
  const series = from + size <= end ? k.exports.headFind(address, from, size) >>> 0 : 0;
  if (series !== 0) return series;
  const { canonical } = readLabels(k.bytes, from, end);
  const { labels } = appendAreas(k);
  if (canonical.length > MAX_LABEL_BYTES) return 0;
  k.bytes.set(canonical, labels);
  return k.exports.headFind(address, labels, canonical.length) >>> 0;
}

const LABEL_TAG = 10;
const VALUE_TAG = 18;
const HISTOGRAM_TAG = 34;

/** The metric's name, and the labels as the head keeps them, of a TimeSeries that was walked. */
function readLabels(bytes: Uint8Array, from: number, end: number) {
  const memory = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Uint8Array[] = [];
  let metric = "";
  eachField(bytes, from, end, (tag, start, stop) => {
    if (tag !== LABEL_TAG) return;
    let name = memory.subarray(0, 0);
    let value = name;
    eachField(bytes, start, stop, (field, a, b) => {
      if (field === LABEL_TAG) name = memory.subarray(a, b);
      else if (field === VALUE_TAG) value = memory.subarray(a, b);
    });
    if (name.toString("latin1") === METRIC_NAME) metric = value.toString("utf8");
    const fields = [...head(LABEL_TAG, name.length), ...name, ...head(VALUE_TAG, value.length)];
    parts.push(Buffer.from([...head(LABEL_TAG, fields.length + value.length), ...fields]), value);
  });
  return { name: metric, canonical: Buffer.concat(parts) };
}

function head(tag: number, length: number): number[] {
  const out = [tag];
  let rest = length;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  out.push(rest);
  return out;
}

function countFields(bytes: Uint8Array, from: number, end: number, wanted: number): number {
  let count = 0;
  eachField(bytes, from, end, (tag) => {
    if (tag === wanted) count++;
  });
  return count;
}

/** Fields of a message that was walked: nothing in it is cut short. */
function eachField(
  bytes: Uint8Array,
  from: number,
  end: number,
  visit: (tag: number, start: number, stop: number) => void,
): void {
  let at = from;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    const type = tag % 8;
    if (type === 0) varint();
    else if (type === 1) at += 8;
    else if (type === 5) at += 4;
    else {
      const length = varint();
      visit(tag, at, at + length);
      at += length;
    }
  }
}
