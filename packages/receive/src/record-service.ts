/** The receiver's end of record shipping: takes the writes of one sender in order, and answers each. */

import { GrpcError, type GrpcMethods, GrpcStatus } from "@torus/server";
import type { NumberedSeries } from "@torus/tsdb";
import { Cause, causeOfError, causeOfVerdict, codesOf } from "./cause.ts";
import { withRawRequest } from "./decode.ts";
import { writeLocal } from "./local.ts";
import {
  decodeRecord,
  encodeAnswer,
  encodeHello,
  type RecordAnswer,
  RecordMalformedError,
  type RecordWrite,
  SHIP_RECORDS,
} from "./record-message.ts";
import { checkTenantName } from "./tenant-name.ts";
import type { Tenant, Tenants } from "./tenants.ts";
import type { SeriesCauses } from "./verdicts.ts";

export type RecordServiceOptions = {
  tenants: Tenants;
  /** Why nothing is taken now; undefined when ready. */
  notReady: () => string | undefined;
  /** Whether start timestamps are kept. */
  startTimes: boolean;
};

/** Tables of one sender at a time: one for each of its tenants, and some that it is about to forget. */
const MOST_SLOTS = 20_000;

type Slot = { tenant: string; local: Tenant | undefined; series: NumberedSeries | undefined };

export function recordMethods(options: RecordServiceOptions): GrpcMethods {
  return {
    [SHIP_RECORDS]: { kind: "bidi", handler: (requests) => serve(options, requests) },
  };
}

async function* serve(
  options: RecordServiceOptions,
  requests: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const slots = new Map<number, Slot>();
  yield encodeHello(options.startTimes);
  try {
    for await (const message of requests) {
      const record = decodeRecord(message);
      if (record.kind === "forget") {
        slots.get(record.slot)?.series?.free();
        slots.delete(record.slot);
      } else yield encodeAnswer(await answer(options, slots, record));
    }
  } catch (error) {
    if (!(error instanceof RecordMalformedError)) throw error;
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, error.message, { cause: error });
  } finally {
    for (const { series } of slots.values()) series?.free();
  }
}

async function answer(
  options: RecordServiceOptions,
  slots: Map<number, Slot>,
  write: RecordWrite,
): Promise<RecordAnswer> {
  const { sequence } = write;
  try {
    const reason = options.notReady();
    if (reason !== undefined) throw new GrpcError(GrpcStatus.UNAVAILABLE, reason);
    const slot = slotOf(slots, write);
    const local = await options.tenants.get(slot.tenant);
    if (slot.local !== local || slot.series?.isClosed === true) {
      // The tenant was closed meanwhile: its series have new places, or none.
      if (slot.series?.isClosed === false) slot.series.free();
      slot.series = undefined;
    }
    slot.local = local;
    slot.series ??= local.db.numberedSeries();
    return { sequence, code: GrpcStatus.OK, message: "", ...store(local, slot.series, write) };
  } catch (error) {
    if (error instanceof RecordMalformedError) throw error;
    const code = error instanceof GrpcError ? error.code : codesOf(causeOfError(error)).grpc;
    const message = error instanceof Error ? error.message : String(error);
    return { sequence, code, message, failed: [], unknown: [] };
  }
}

function slotOf(slots: Map<number, Slot>, write: RecordWrite): Slot {
  let slot = slots.get(write.slot);
  if (write.tenant !== "") {
    checkTenantName(write.tenant);
    if (slots.size >= MOST_SLOTS) {
      throw new GrpcError(GrpcStatus.RESOURCE_EXHAUSTED, `more than ${MOST_SLOTS} tables`);
    }
    slot?.series?.free();
    slot = { tenant: write.tenant, local: undefined, series: undefined };
    slots.set(write.slot, slot);
  }
  if (slot === undefined) throw new RecordMalformedError(0);
  return slot;
}

function store(
  local: Tenant,
  series: NumberedSeries,
  write: RecordWrite,
): { failed: SeriesCauses; unknown: readonly number[] } {
  const failed: SeriesCauses[number][] = [];
  let labelled = 0;
  if (write.request.length > 0) {
    withRawRequest(write.request, (request) => {
      labelled = request.walk(null);
      if (write.numbers.length > 0 && write.numbers.length !== labelled) {
        throw new RecordMalformedError(0);
      }
      failed.push(...writeLocal(local.db, request, null).failed);
      series.bind(request, write.numbers);
    });
  }
  const { refused, unknown } = series.append(
    write.rows,
    write.rowCount,
    write.baseTime,
    write.starts,
  );
  for (const [row, verdict] of refused) {
    const cause = causeOfVerdict(verdict);
    if (cause !== Cause.STORED) failed.push([labelled + row, cause, 1]);
  }
  return { failed, unknown };
}
