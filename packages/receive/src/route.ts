/**
 * From the walked request to its owners: hash → section → owner of each copy, as lists of series by owner. A forwarded
 * body is the series' own bytes, copied in runs; nothing is decoded or encoded again:
 *
 *     thanos.WriteRequest { TimeSeries timeseries = 1 (the ranges), string tenant = 2, int64 replica = 3 }
 */

import type { Placement } from "@torus/hashring";
import {
  copyShared,
  SERIES_WORDS,
  SeriesFlag,
  SeriesWord,
  type WriteRequestBuffer,
} from "@torus/kernels";

/** Series that no owner may take; unsorted ones were sorted before they come here. */
const REFUSED_FLAGS =
  SeriesFlag.DUPLICATE_LABEL |
  SeriesFlag.EMPTY_LABEL |
  SeriesFlag.NO_LABELS |
  SeriesFlag.INVALID_UTF8 |
  SeriesFlag.UNSORTED;

/** Section of a series that nobody takes. */
const REFUSED = -1;

/** What one node gets: each series once, whichever copy of it that is. */
export type Share = {
  /** Index into the placement's endpoints. */
  endpoint: number;
  /** Indexes of series, ascending. Nodes that get the same share one array. */
  series: Uint32Array;
};

/** The copies to make: all of them, or the one that a router asked for. */
export type Copies = { from: number; to: number };

export type Route = {
  shares: Share[];
  /** Series with labels that nobody takes. */
  refused: number[];
};

/** Where the ring puts the series of a request. */
export type Sections = {
  /** `SeriesFlag` bits that any of them has. */
  flags: number;
  /** The section of each; not asked for where every node owns every series. */
  all: () => Int32Array;
};

export function routeRequest(
  request: WriteRequestBuffer,
  placement: Placement,
  copies: Copies,
  sections: Sections,
): Route {
  const { owners, endpoints, copies: perSection } = placement;
  const { count } = request;
  const refused = refusedSeries(request, sections.flags);
  if (copies.to - copies.from === endpoints.length) {
    const series = routed(count, refused);
    if (series.length === 0) return { shares: [], refused };
    return { shares: endpoints.map((_, endpoint) => ({ endpoint, series })), refused };
  }
  const bySeries = sections.all();
  for (const index of refused) bySeries[index] = REFUSED;
  const sizes = new Uint32Array(endpoints.length);
  for (let i = 0; i < count; i++) {
    const section = bySeries[i] as number;
    if (section === REFUSED) continue;
    for (let copy = copies.from; copy < copies.to; copy++) {
      const owner = owners[section * perSection + copy] as number;
      sizes[owner] = (sizes[owner] as number) + 1;
    }
  }
  const byOwner = Array.from(sizes, (size) => (size === 0 ? null : new Uint32Array(size)));
  sizes.fill(0);
  for (let i = 0; i < count; i++) {
    const section = bySeries[i] as number;
    if (section === REFUSED) continue;
    for (let copy = copies.from; copy < copies.to; copy++) {
      const owner = owners[section * perSection + copy] as number;
      const at = sizes[owner] as number;
      (byOwner[owner] as Uint32Array)[at] = i;
      sizes[owner] = at + 1;
    }
  }
  const shares: Share[] = [];
  for (const [endpoint, series] of byOwner.entries()) {
    if (series !== null) shares.push({ endpoint, series });
  }
  return { shares, refused };
}

function refusedSeries(request: WriteRequestBuffer, flags: number): number[] {
  const refused: number[] = [];
  if ((flags & REFUSED_FLAGS) === 0) return refused;
  const table = request.series;
  for (let i = 0; i < request.count; i++) {
    if (((table[i * SERIES_WORDS + SeriesWord.FLAGS] as number) & REFUSED_FLAGS) !== 0) {
      refused.push(i);
    }
  }
  return refused;
}

/** All indexes below `count` but the refused ones, which are ascending. */
function routed(count: number, refused: readonly number[]): Uint32Array {
  const out = new Uint32Array(count - refused.length);
  let skip = 0;
  for (let i = 0, at = 0; i < count; i++) {
    if (refused[skip] === i) skip++;
    else out[at++] = i;
  }
  return out;
}

/** A share by the number of the copy, from 0: a foreign receiver may look up again which copy it was given. */
export function byCopy(
  share: Share,
  placement: Placement,
  copies: Copies,
  sections: Int32Array,
): { copy: number; series: Uint32Array }[] {
  const { owners, copies: perSection } = placement;
  const lists = Array.from({ length: copies.to }, (): number[] => []);
  for (const index of share.series) {
    const section = sections[index] as number;
    for (let copy = copies.from; copy < copies.to; copy++) {
      if (owners[section * perSection + copy] === share.endpoint) lists[copy]?.push(index);
    }
  }
  return lists.flatMap((list, copy) =>
    list.length === 0 ? [] : [{ copy, series: Uint32Array.from(list) }],
  );
}

/** The message for a peer, of memory of its own: the request's may be released after this. */
export function forwardedRequest(
  request: WriteRequestBuffer,
  series: Uint32Array,
  tenant: Uint8Array,
  replica: number,
): Uint8Array {
  return seriesFields(request, series, tailFields(tenant, replica));
}

/** The field bytes of these series, and `tail` behind them. */
export function seriesFields(
  request: WriteRequestBuffer,
  series: Uint32Array,
  tail: Uint8Array,
): Uint8Array {
  const table = request.series;
  let size = 0;
  for (let i = 0; i < series.length; i++) {
    size += table[(series[i] as number) * SERIES_WORDS + SeriesWord.LENGTH] as number;
  }
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
    copyShared(message, body.subarray(start - base, end - base), at);
    at += end - start;
  }
  message.set(tail, at);
  return message;
}

export function tailFields(tenant: Uint8Array, replica: number): Uint8Array {
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
