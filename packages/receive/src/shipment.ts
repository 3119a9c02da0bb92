/**
 * One share of a request as a record message: what the receiver knows by number goes as rows, the rest with labels,
 * which the receiver binds to numbers from then on. As long as it is not answered, a shipment can still become an
 * ordinary thanos.WriteRequest: when the receiver lost its numbers, when the connection ended, or for the hand-off.
 */

import {
  type FoundSeries,
  NO_NUMBER,
  type RegisteredSeries,
  type WriteRequestBuffer,
} from "@torus/kernels";
import type { TenantSeries } from "./forwarded-series.ts";
import { seriesFields, tailFields } from "./route.ts";

const NOTHING = new Uint8Array(0);

export type Shipment = {
  readonly series: TenantSeries;
  readonly tenant: Uint8Array;
  /** Index into the request's table of each series with labels, then of each row. */
  readonly entries: Uint32Array;
  /** How many of them are series with labels. */
  readonly labelled: number;
  /** The TimeSeries fields of these. */
  readonly request: Uint8Array;
  /** Their numbers + 1, or 0. */
  readonly numbers: Uint32Array;
  readonly rowCount: number;
  readonly baseTime: bigint;
  /** Start timestamps of the rows that have one; empty for none. */
  readonly starts: Uint8Array;
  readonly rows: Uint8Array;
  readonly bytes: number;
};

/**
 * Makes the shipment of `chosen`, whose memory is its own, and notes as registered what it registers.
 *
 * @param startTimes Whether the receiver keeps start timestamps.
 */
export function makeShipment(
  request: WriteRequestBuffer,
  found: FoundSeries,
  chosen: Uint32Array,
  registered: RegisteredSeries,
  series: TenantSeries,
  tenant: Uint8Array,
  startTimes: boolean,
): Shipment {
  const all = chosen.length === request.count;
  const numbered = series.refs.rows(request, found, all ? null : chosen, registered, startTimes);
  const { rest, order } = numbered;
  const numbers = new Uint32Array(rest.length);
  for (let i = 0; i < rest.length; i++) {
    const number = (found.words[(rest[i] as number) * 2] as number) >>> 0;
    if (number === NO_NUMBER) continue;
    numbers[i] = number + 1;
    registered.set(number, true);
  }
  const labels = rest.length === 0 ? NOTHING : seriesFields(request, rest, NOTHING);
  const rows = Buffer.allocUnsafe(numbered.bytes.length);
  rows.set(numbered.bytes);
  const starts = numbered.starts.length === 0 ? NOTHING : numbered.starts.slice();
  let entries = order;
  if (rest.length > 0) {
    entries = new Uint32Array(rest.length + order.length);
    entries.set(rest);
    entries.set(order, rest.length);
  }
  return {
    series,
    tenant,
    entries,
    labelled: rest.length,
    request: labels,
    numbers,
    rowCount: numbered.rows,
    baseTime: numbered.baseTime,
    starts,
    rows,
    bytes: labels.length + starts.length + rows.length,
  };
}

/** The number of each of these rows, which are ascending. */
export function numbersOfRows(shipment: Shipment, rows: readonly number[]): number[] {
  const wanted = new Set(rows);
  const out: number[] = [];
  eachRow(shipment, (row, number) => {
    if (wanted.has(row)) out.push(number);
  });
  return out;
}

/**
 * The same samples as thanos.WriteRequest: the series with labels, then one TimeSeries for each row, so that the n-th
 * series is the n-th of `entries`. For the shipment's own tenant and any copy.
 *
 * @param rows Only these rows, and no series with labels; null for everything.
 */
export function asWriteRequest(shipment: Shipment, rows: readonly number[] | null): Uint8Array {
  const wanted = rows === null ? null : new Set(rows);
  const parts: Uint8Array[] = rows === null ? [shipment.request] : [];
  const { refs } = shipment.series;
  const startTimes = startTimesOf(shipment);
  eachRow(shipment, (row, number, time, value) => {
    if (wanted !== null && !wanted.has(row)) return;
    const labels = refs.labels(number);
    const at = varint(BigInt.asUintN(64, time));
    const startTime = startTimes.get(row);
    const start =
      startTime === undefined
        ? NOTHING
        : Buffer.concat([Buffer.of(0x18), varint(BigInt.asUintN(64, startTime))]);
    const sample = Buffer.concat([
      Buffer.of(0x12, 10 + at.length + start.length, 0x09),
      value,
      Buffer.of(0x10),
      at,
      start,
    ]);
    const length = varint(BigInt(labels.length + sample.length));
    parts.push(Buffer.concat([Buffer.of(0x0a), length, labels, sample]));
  });
  parts.push(tailFields(shipment.tenant, 1));
  return Buffer.concat(parts);
}

function eachRow(
  { rows, rowCount, baseTime }: Shipment,
  visit: (row: number, number: number, time: bigint, value: Uint8Array) => void,
): void {
  const reader = new OwnVarints(rows);
  let number = -1;
  let time = baseTime;
  for (let row = 0; row < rowCount; row++) {
    number += 1 + Number(reader.zigzag());
    time = BigInt.asIntN(64, time + reader.zigzag());
    visit(row, number, time, rows.subarray(reader.at, reader.at + 8));
    reader.at += 8;
  }
}

/** By row. */
function startTimesOf({ starts }: Shipment): Map<number, bigint> {
  const out = new Map<number, bigint>();
  const reader = new OwnVarints(starts);
  let row = -1;
  let startTime = 0n;
  while (reader.at < starts.length) {
    row += 1 + Number(reader.zigzag());
    startTime += reader.zigzag();
    out.set(row, startTime);
  }
  return out;
}

/** What this node has written itself. */
class OwnVarints {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  zigzag(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#bytes[this.at++] as number;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return (value >> 1n) ^ -(value & 1n);
    }
  }
}

function varint(value: bigint): Uint8Array {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return Uint8Array.from(out);
}
