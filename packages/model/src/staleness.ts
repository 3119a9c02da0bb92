/**
 * The two NaNs of Prometheus (model/value). They differ only in their bits, and V8 may rewrite a NaN's bits
 * when it passes through a plain number: keep values in a Float64Array or DataView, and test by bits.
 */

/** High and low 32 bits of the staleness marker 0x7ff0000000000002. */
export const STALE_NAN_HIGH = 0x7ff00000;
export const STALE_NAN_LOW = 0x00000002;

/** Fills `out[index]` with the staleness marker without a number in between. */
export function setStale(out: Float64Array, index: number): void {
  const words = new Uint32Array(out.buffer, out.byteOffset + index * 8, 2);
  words[0] = STALE_NAN_LOW;
  words[1] = STALE_NAN_HIGH;
}

/** True when `values[index]` is the staleness marker. `words` views the same bytes as `values` (little-endian). */
export function isStale(words: Uint32Array, index: number): boolean {
  return words[index * 2] === STALE_NAN_LOW && words[index * 2 + 1] === STALE_NAN_HIGH;
}

/** The 32-bit words of a column, for `isStale`. */
export function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}
