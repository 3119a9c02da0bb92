/**
 * What one torus receiver tells another about the series of a call that it did not store whole. A caller that
 * understands it says so in the call's metadata; it then gets OK with this message in place of a bare error, which
 * would condemn every series of the call. thanos.WriteResponse has no fields, so a foreign peer that saw this would
 * skip it:
 *
 *     WriteResponse { repeated uint32 verdicts = 1000 [packed] }    verdicts = index, cause, refused samples, …
 */

import { CAUSES, Cause } from "./cause.ts";

export const VERDICTS_METADATA = "torus-write-verdicts";

const TAG = [0xc2, 0x3e] as const; // 1000 << 3 | 2

/** Series of a call by index, with the cause of what was not stored and how many of its samples that are. */
export type SeriesCauses = readonly (readonly [index: number, cause: Cause, samples: number])[];

export function encodeVerdicts(causes: SeriesCauses): Uint8Array {
  if (causes.length === 0) return new Uint8Array(0);
  const body: number[] = [];
  for (const [index, cause, samples] of causes) {
    pushVarint(body, index);
    pushVarint(body, cause);
    pushVarint(body, samples);
  }
  const head: number[] = [...TAG];
  pushVarint(head, body.length);
  return Uint8Array.from([...head, ...body]);
}

/** Undefined when it is no such message: the peer then said nothing about single series. */
export function decodeVerdicts(message: Uint8Array, series: number): SeriesCauses | undefined {
  if (message.length === 0) return [];
  if (message[0] !== TAG[0] || message[1] !== TAG[1]) return undefined;
  let at = 2;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1, i = 0; i < 5; i++, scale *= 128) {
      const byte = message[at++];
      if (byte === undefined) return -1;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    return -1;
  };
  if (varint() !== message.length - at) return undefined;
  const causes: [number, Cause, number][] = [];
  while (at < message.length) {
    const index = varint();
    const cause = varint();
    const samples = varint();
    if (index < 0 || index >= series || cause <= Cause.STORED || cause >= CAUSES) return undefined;
    if (samples < 0) return undefined;
    causes.push([index, cause as Cause, samples]);
  }
  return causes;
}

function pushVarint(out: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  out.push(rest);
}
