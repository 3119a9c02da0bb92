/** How many floats, native histograms and exemplars each series of a request has. */

import { SERIES_WORDS, SeriesFlag, SeriesWord, type WriteRequestBuffer } from "@torus/kernels";

export type SampleCounts = {
  floats: Uint32Array;
  /** Null when no series has any. */
  histograms: Uint32Array | null;
  /** Null when no series has any. */
  exemplars: Uint32Array | null;
};

const EXEMPLAR_TAG = 26;
const HISTOGRAM_TAG = 34;

/** @param request Walked; its body stands. */
export function samplesBySeries(request: WriteRequestBuffer): SampleCounts {
  const table = request.series;
  const floats = new Uint32Array(request.count);
  let histograms: Uint32Array | null = null;
  let exemplars: Uint32Array | null = null;
  for (let i = 0; i < floats.length; i++) {
    const at = i * SERIES_WORDS;
    floats[i] = table[at + SeriesWord.SAMPLES] as number;
    const flags = table[at + SeriesWord.FLAGS] as number;
    if ((flags & (SeriesFlag.HISTOGRAMS | SeriesFlag.EXEMPLARS)) === 0) continue;
    const start = table[at + SeriesWord.START] as number;
    const bytes = request.bytes(start, table[at + SeriesWord.LENGTH] as number);
    if (flags & SeriesFlag.HISTOGRAMS) {
      histograms ??= new Uint32Array(request.count);
      histograms[i] = countFields(bytes, HISTOGRAM_TAG);
    }
    if (flags & SeriesFlag.EXEMPLARS) {
      exemplars ??= new Uint32Array(request.count);
      exemplars[i] = countFields(bytes, EXEMPLAR_TAG);
    }
  }
  return { floats, histograms, exemplars };
}

export function samplesOf({ floats, histograms }: SampleCounts, index: number): number {
  return (floats[index] as number) + (histograms?.[index] ?? 0);
}

export function totalSamples({ floats, histograms }: SampleCounts): number {
  const sum = (total: number, each: number) => total + each;
  return floats.reduce(sum, 0) + (histograms?.reduce(sum, 0) ?? 0);
}

/** Fields with this tag in one TimeSeries field of a request that was walked: nothing in it is cut short. */
function countFields(bytes: Uint8Array, wanted: number): number {
  let at = 1;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  let count = 0;
  varint();
  while (at < bytes.length) {
    const tag = varint();
    if (tag === wanted) count++;
    const wireType = tag % 8;
    if (wireType === 0) varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else {
      const length = varint();
      at += length;
    }
  }
  return count;
}
