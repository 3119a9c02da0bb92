/**
 * Puts the labels of unsorted series into order, on the bytes of the request: a label is moved, never decoded. Only
 * requests that have such series pay for it; the hash of a series then is that of its sorted labels.
 */

import { SERIES_WORDS, SeriesFlag, SeriesWord, type WriteRequestBuffer } from "@torus/kernels";

export function hasUnsortedSeries(request: WriteRequestBuffer): boolean {
  const table = request.series;
  for (let at = SeriesWord.FLAGS; at < table.length; at += SERIES_WORDS) {
    if (((table[at] as number) & SeriesFlag.UNSORTED) !== 0) return true;
  }
  return false;
}

/** A body of the request's series in [from, to) alone, all sorted, of memory of its own. */
export function sortedBody(request: WriteRequestBuffer, from = 0, to = request.count): Uint8Array {
  const parts: Uint8Array[] = [];
  const table = request.series;
  for (let i = from; i < to; i++) {
    const flags = table[i * SERIES_WORDS + SeriesWord.FLAGS] as number;
    const field = Uint8Array.from(request.seriesBytes(i));
    parts.push((flags & SeriesFlag.UNSORTED) === 0 ? field : sortedSeries(field));
  }
  return Buffer.concat(parts);
}

/** The fields of a message that the walk has accepted. */
function* fields(
  bytes: Uint8Array,
): Generator<{ tag: number; at: number; start: number; end: number }> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80 || at >= bytes.length) return value;
    }
  };
  while (at < bytes.length) {
    const begin = at;
    const tag = varint();
    let start = at;
    const type = tag & 7;
    if (type === 0) varint();
    else if (type === 1) at += 8;
    else if (type === 5) at += 4;
    else {
      const length = varint();
      start = at;
      at += length;
    }
    yield { tag, at: begin, start, end: at };
  }
}

function sortedSeries(field: Uint8Array): Uint8Array {
  const [outer] = fields(field);
  if (outer === undefined) return field;
  const series = field.subarray(outer.start, outer.end);
  const labels: { name: Buffer; bytes: Uint8Array }[] = [];
  const others: Uint8Array[] = [];
  for (const each of fields(series)) {
    const bytes = series.subarray(each.at, each.end);
    if (each.tag !== 0x0a) {
      others.push(bytes);
      continue;
    }
    const label = series.subarray(each.start, each.end);
    let name = Buffer.alloc(0);
    for (const inner of fields(label)) {
      if (inner.tag === 0x0a) name = Buffer.from(label.subarray(inner.start, inner.end));
    }
    labels.push({ name, bytes });
  }
  labels.sort((a, b) => Buffer.compare(a.name, b.name));
  const body = Buffer.concat([...labels.map(({ bytes }) => bytes), ...others]);
  // The same fields in another order: tag and length stay as they are.
  return Buffer.concat([field.subarray(0, outer.start), body]);
}
