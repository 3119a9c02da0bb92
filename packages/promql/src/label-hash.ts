/**
 * Prometheus' hash of a label set (model/labels, stringlabels): XXH64 with seed 0 over names and values in turn, each
 * behind its length, one byte below 255, else ff and three bytes little-endian.
 */

import type { Labels } from "@torus/model";

const P1 = 0x9e3779b185ebca87n;
const P2 = 0xc2b2ae3d27d4eb4fn;
const P3 = 0x165667b19e3779f9n;
const P4 = 0x85ebca77c2b2ae63n;
const P5 = 0x27d4eb2f165667c5n;

const wrap = (value: bigint) => BigInt.asUintN(64, value);
const turned = (value: bigint, bits: bigint) => wrap((value << bits) | (value >> (64n - bits)));
const mixed = (lane: bigint, input: bigint) => wrap(turned(wrap(lane + input * P2), 31n) * P1);

function hash(bytes: Uint8Array): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  let value = P5;
  if (bytes.length >= 32) {
    let [a, b, c, d] = [wrap(P1 + P2), P2, 0n, wrap(-P1)];
    for (; at + 32 <= bytes.length; at += 32) {
      a = mixed(a, view.getBigUint64(at, true));
      b = mixed(b, view.getBigUint64(at + 8, true));
      c = mixed(c, view.getBigUint64(at + 16, true));
      d = mixed(d, view.getBigUint64(at + 24, true));
    }
    value = wrap(turned(a, 1n) + turned(b, 7n) + turned(c, 12n) + turned(d, 18n));
    for (const lane of [a, b, c, d]) value = wrap((value ^ mixed(0n, lane)) * P1 + P4);
  }
  value = wrap(value + BigInt(bytes.length));
  for (; at + 8 <= bytes.length; at += 8) {
    value = wrap(turned(value ^ mixed(0n, view.getBigUint64(at, true)), 27n) * P1 + P4);
  }
  if (at + 4 <= bytes.length) {
    value = wrap(turned(value ^ wrap(BigInt(view.getUint32(at, true)) * P1), 23n) * P2 + P3);
    at += 4;
  }
  for (; at < bytes.length; at++) {
    value = wrap(turned(value ^ wrap(BigInt(view.getUint8(at)) * P5), 11n) * P1);
  }
  value = wrap((value ^ (value >> 33n)) * P2);
  value = wrap((value ^ (value >> 29n)) * P3);
  return value ^ (value >> 32n);
}

export function labelHash(labels: Labels): bigint {
  const parts: Uint8Array[] = [];
  for (const text of labels) {
    const bytes = Buffer.from(text);
    const { length } = bytes;
    parts.push(
      length < 255
        ? Buffer.of(length)
        : Buffer.of(255, length & 255, (length >> 8) & 255, (length >> 16) & 255),
      bytes,
    );
  }
  return hash(Buffer.concat(parts));
}

/** The hash as a place in [0, 1). */
export function placeOf(labels: Labels): number {
  return Number(labelHash(labels)) / 2 ** 64;
}
