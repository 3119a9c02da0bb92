/** Samples as the JSON of Prometheus' HTTP API, `[1700000000.140,"0.25"],` each, through the kernel. */

import { type Kernel, kernel } from "./load.ts";

/** Samples that one call takes. */
export const SAMPLE_TEXTS = 512;
/** Of one sample at most, and of what the kernel writes behind it. */
const BYTES_OF_SAMPLE = 64;
const MIN_POWER = -292;
const MAX_POWER = 324;

type Area = { times: Float64Array; values: Float64Array; text: Uint8Array };

let area: Area | undefined;

/** 10^k * 2^n as 128 bits, n so that the highest bit is set, rounded up. */
function powerOfTen(k: number): bigint {
  const power = 10n ** BigInt(Math.abs(k));
  const bits = power.toString(2).length;
  if (k >= 0) {
    if (bits <= 128) return power << BigInt(128 - bits);
    const shift = BigInt(bits - 128);
    return (power + (1n << shift) - 1n) >> shift;
  }
  // 2^(127 + bits) / power has 128 bits, because no negative power of ten is one of two.
  return (1n << BigInt(127 + bits)) / power + 1n;
}

function openArea(k: Kernel): Area {
  const powers = k.exports.numberPowers() >>> 0;
  const { view } = k;
  for (let power = MIN_POWER; power <= MAX_POWER; power++) {
    const at = powers + (power - MIN_POWER) * 16;
    const g = powerOfTen(power);
    view.setBigUint64(at, g >> 64n, true);
    view.setBigUint64(at + 8, BigInt.asUintN(64, g), true);
  }
  const at = k.alloc(SAMPLE_TEXTS * (16 + BYTES_OF_SAMPLE));
  const { buffer } = k.memory;
  return {
    times: new Float64Array(buffer, at, SAMPLE_TEXTS),
    values: new Float64Array(buffer, at + SAMPLE_TEXTS * 8, SAMPLE_TEXTS),
    text: new Uint8Array(buffer, at + SAMPLE_TEXTS * 16, SAMPLE_TEXTS * BYTES_OF_SAMPLE),
  };
}

/**
 * The texts of at most `SAMPLE_TEXTS` samples, each with a comma behind it.
 *
 * @param times Whole milliseconds. As long as `values`.
 * @returns a view of the kernel's memory, valid until the next call
 */
export function sampleTexts(times: Float64Array, values: Float64Array): Uint8Array {
  if (times.length > SAMPLE_TEXTS || times.length !== values.length) {
    throw new RangeError(`texts of ${times.length} times and ${values.length} values at once`);
  }
  const k = kernel();
  area ??= openArea(k);
  // Columns are copied whole, so that the bits of a NaN stay.
  area.times.set(times);
  area.values.set(values);
  const to = area.text.byteOffset;
  const end =
    k.exports.writeSamples(area.times.byteOffset, area.values.byteOffset, times.length, to) >>> 0;
  return area.text.subarray(0, end - to);
}
