/**
 * The variable-length integers inside chunks (Prometheus, tsdb/docs/format/chunks.md): a prefix of ones says how many bits follow.
 *
 *   0 | 10 + 3 | 110 + 6 | 1110 + 9 | 11110 + 12 | 111110 + 18 | 1111110 + 25 | 11111110 + 56 | 11111111 + 64
 *
 * A signed number of n bits reaches from -(2^(n-1) - 1) to 2^(n-1).
 */

import type { BitReader, BitWriter } from "@torus/encoding";

const WIDTHS = [0, 3, 6, 9, 12, 18, 25, 56, 64] as const;
const LAST = WIDTHS.length - 1;

const SIGNED_MAX = WIDTHS.map((width) => (width === 0 ? 0n : 1n << BigInt(width - 1)));
const UNSIGNED_MAX = WIDTHS.map((width) => (1n << BigInt(width)) - 1n);

/** Whether a signed number takes at most `width` bits as chunks have them. */
export function fitsSigned(value: bigint, width: number): boolean {
  const max = 1n << BigInt(width - 1);
  return value > -max && value <= max;
}

/** The signed number whose `width` (1 to 64) low bits are `raw`. */
export function signedOf(raw: bigint, width: number): bigint {
  if (width === 64) return BigInt.asIntN(64, raw);
  return raw > 1n << BigInt(width - 1) ? raw - (1n << BigInt(width)) : raw;
}

export function writeVarbitInt(out: BitWriter, value: bigint): void {
  let step = 0;
  if (value !== 0n) {
    step = 1;
    while (
      step < LAST &&
      !(value > -(SIGNED_MAX[step] as bigint) && value <= (SIGNED_MAX[step] as bigint))
    )
      step++;
  }
  writeStep(out, step, value);
}

export function writeVarbitUint(out: BitWriter, value: bigint): void {
  let step = 0;
  while (step < LAST && value > (UNSIGNED_MAX[step] as bigint)) step++;
  writeStep(out, step, value);
}

function writeStep(out: BitWriter, step: number, value: bigint): void {
  // The longest prefix has no zero behind it.
  if (step === LAST) out.bits(0xff, 8);
  else out.bits(2 ** (step + 1) - 2, step + 1);
  out.bitsBig(value, WIDTHS[step] as number);
}

function readStep(reader: BitReader): number {
  let step = 0;
  while (step < LAST && reader.one()) step++;
  return step;
}

/** @throws {ChunkTruncatedError} */
export function readVarbitInt(reader: BitReader): bigint {
  const width = WIDTHS[readStep(reader)] as number;
  return width === 0 ? 0n : signedOf(reader.bitsBig(width), width);
}

/** @throws {ChunkTruncatedError} */
export function readVarbitUint(reader: BitReader): bigint {
  return reader.bitsBig(WIDTHS[readStep(reader)] as number);
}
