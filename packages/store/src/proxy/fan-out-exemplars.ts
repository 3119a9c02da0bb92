/** Exemplars of all endpoints that serve them. */

import { compareLabels, type Labels, withoutLabels } from "@torus/model";
import {
  decodeExemplars,
  EXEMPLARS,
  encodeExemplarsRequest,
  PartialResponse,
  type WireExemplar,
  type WireExemplars,
} from "@torus/protocol";
import { errorText } from "@torus/server";
import type { Endpoint } from "./endpoints.ts";

export type ExemplarsCall = {
  query: string;
  /** ms, both inclusive. */
  start: number;
  end: number;
  /** Taken out of series, which may become equal by that; none for every copy by itself. */
  replicaLabels: readonly string[];
  timeoutMs: number;
  signal: AbortSignal;
  onWarning: (warning: string) => void;
};

/** Exemplars that are held at most: what a query thread's byte budget is for samples. */
const MOST_EXEMPLARS = 1_000_000;

export class TooManyExemplarsError extends Error {
  constructor() {
    super(`query_exemplars: the endpoints have more than ${MOST_EXEMPLARS} exemplars for it`);
    this.name = "TooManyExemplarsError";
  }
}

/**
 * Series in ascending label order, exemplars ascending by time, those that are the same once. An endpoint that fails
 * gives a warning.
 *
 * @throws {TooManyExemplarsError}
 */
export async function fanOutExemplars(
  endpoints: readonly Endpoint[],
  call: ExemplarsCall,
): Promise<WireExemplars[]> {
  const { query, start, end, timeoutMs, signal, onWarning } = call;
  const without = new Set(call.replicaLabels);
  const found = new Map<string, { labels: Labels; exemplars: Map<string, WireExemplar> }>();
  let held = 0;
  const take = ({ labels: all, exemplars }: WireExemplars) => {
    const labels = withoutLabels(all, without);
    const key = JSON.stringify(labels);
    let series = found.get(key);
    if (series === undefined) {
      series = { labels, exemplars: new Map() };
      found.set(key, series);
    }
    for (const exemplar of exemplars) {
      series.exemplars.set(identity(exemplar), exemplar);
      if (++held > MOST_EXEMPLARS) throw new TooManyExemplarsError();
    }
  };
  const request = encodeExemplarsRequest({
    query,
    start,
    end,
    partialResponseStrategy: PartialResponse.WARN,
  });
  const ask = async ({ client, address }: Endpoint) => {
    try {
      for await (const message of client.serverStream(EXEMPLARS, request, { timeoutMs, signal })) {
        const { series, warnings } = decodeExemplars(message);
        for (const warning of warnings) onWarning(`${address}: ${warning}`);
        for (const each of series) take(each);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof TooManyExemplarsError) throw error;
      onWarning(`exemplars of ${address}: ${errorText(error)}`);
    }
  };
  await Promise.all(
    endpoints.filter(({ healthy, info }) => healthy && info?.exemplars === true).map(ask),
  );
  return [...found.values()]
    .map(({ labels, exemplars }) => ({
      labels,
      exemplars: [...exemplars.values()].sort((a, b) => a.time - b.time),
    }))
    .sort((a, b) => compareLabels(a.labels, b.labels));
}

function identity({ labels, value, time }: WireExemplar): string {
  return JSON.stringify([time, Object.is(value, -0) ? "-0" : String(value), labels]);
}
