/**
 * From the walked request to its owners: hash → section → owner of each copy, as lists of series by owner and copy.
 * A forwarded body is the series' own bytes, copied in runs; nothing is decoded or encoded again:
 *
 *     thanos.WriteRequest { TimeSeries timeseries = 1 (the ranges), string tenant = 2, int64 replica = 3 }
 */

import type { Placement } from "@torus/hashring";
import { SERIES_WORDS, SeriesFlag, SeriesWord, type WriteRequestBuffer } from "@torus/kernels";

/** Series that no owner may take; unsorted ones were sorted before they come here. */
const REFUSED_FLAGS =
  SeriesFlag.DUPLICATE_LABEL |
  SeriesFlag.EMPTY_LABEL |
  SeriesFlag.NO_LABELS |
  SeriesFlag.INVALID_UTF8 |
  SeriesFlag.UNSORTED;

export type Share = {
  /** Index into the placement's endpoints. */
  endpoint: number;
  /** From 0. */
  copy: number;
  /** Indexes of series, ascending. */
  series: Uint32Array;
};

export type Route = {
  shares: Share[];
  /** Series with labels that nobody takes. */
  refused: number[];
};

/** @param copies The copies to make: all of them, or the one that a router asked for. */
export function routeRequest(
  request: WriteRequestBuffer,
  placement: Placement,
  copies: { from: number; to: number },
): Route {
  const { owners, endpoints, copies: perSection } = placement;
  const table = request.series;
  const count = request.count;
  const refused: number[] = [];
  const sizes = new Uint32Array(endpoints.length * perSection);
  const sections = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    const at = i * SERIES_WORDS;
    if (((table[at + SeriesWord.FLAGS] as number) & REFUSED_FLAGS) !== 0) {
      sections[i] = -1;
      refused.push(i);
      continue;
    }
    const section = placement.section(
      table[at + SeriesWord.HASH_LOW] as number,
      table[at + SeriesWord.HASH_HIGH] as number,
    );
    sections[i] = section;
    for (let copy = copies.from; copy < copies.to; copy++) {
      const slot = (owners[section * perSection + copy] as number) * perSection + copy;
      sizes[slot] = (sizes[slot] as number) + 1;
    }
  }
  const bySlot = Array.from(sizes, (size) => (size === 0 ? null : new Uint32Array(size)));
  sizes.fill(0);
  for (let i = 0; i < count; i++) {
    const section = sections[i] as number;
    if (section < 0) continue;
    for (let copy = copies.from; copy < copies.to; copy++) {
      const slot = (owners[section * perSection + copy] as number) * perSection + copy;
      const at = sizes[slot] as number;
      (bySlot[slot] as Uint32Array)[at] = i;
      sizes[slot] = at + 1;
    }
  }
  const shares: Share[] = [];
  for (const [slot, series] of bySlot.entries()) {
    if (series === null) continue;
    shares.push({ endpoint: Math.floor(slot / perSection), copy: slot % perSection, series });
  }
  return { shares, refused };
}

/** The message for a peer, of memory of its own: the request's may be released after this. */
export function forwardedRequest(
  request: WriteRequestBuffer,
  share: Share,
  tenant: Uint8Array,
): Uint8Array {
  const table = request.series;
  const { series, copy } = share;
  let size = 0;
  for (let i = 0; i < series.length; i++) {
    size += table[(series[i] as number) * SERIES_WORDS + SeriesWord.LENGTH] as number;
  }
  const tail = tailFields(tenant, copy + 1);
  const message = Buffer.allocUnsafe(size + tail.length);
  const base = request.bodyStart;
  const body = request.bytes(base, request.bodyLength);
  let at = 0;
  for (let i = 0; i < series.length; ) {
    const start = table[(series[i] as number) * SERIES_WORDS + SeriesWord.START] as number;
    let end = start + (table[(series[i] as number) * SERIES_WORDS + SeriesWord.LENGTH] as number);
    for (i++; i < series.length; i++) {
      const entry = (series[i] as number) * SERIES_WORDS;
      if (table[entry + SeriesWord.START] !== end) break;
      end += table[entry + SeriesWord.LENGTH] as number;
    }
    message.set(body.subarray(start - base, end - base), at);
    at += end - start;
  }
  message.set(tail, at);
  return message;
}

function tailFields(tenant: Uint8Array, replica: number): Uint8Array {
  const out: number[] = [0x12];
  pushVarint(out, tenant.length);
  for (const byte of tenant) out.push(byte);
  out.push(0x18);
  pushVarint(out, replica);
  return Uint8Array.from(out);
}

function pushVarint(out: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  out.push(rest);
}
