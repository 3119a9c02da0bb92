/** Asks many endpoints at once and merges what they answer. */

import { compareLabels, compareStrings, type Matcher, withoutLabels } from "@torus/model";
import {
  decodeLabelsResponse,
  decodeSeriesFrame,
  encodeLabelsRequest,
  encodeSeriesRequest,
  type LabelsRequest,
  LabelTable,
  PartialResponse,
  type SeriesRequest,
} from "@torus/protocol";
import { errorText } from "@torus/server";
import { FRAME_BYTES_HEADER } from "../frame-size.ts";
import { mergeSeries, type SeriesOf, type SeriesStream } from "../merge.ts";
import { START_TIMES_HEADER, StartTimes } from "../start-times-header.ts";
import { type Endpoint, mayHave } from "./endpoints.ts";
import { Missing, type MissingOptions } from "./missing.ts";

export type FanOutCall = MissingOptions & {
  /** The longest wait for one frame or answer in ms; 0 for none. */
  responseTimeoutMs: number;
  tenant: string;
  signal: AbortSignal;
  /** Told of bytes that are held from now on, and of those given up as a negative number; throws when they are too many. */
  charge: (bytes: number) => void;
  /** Whether start timestamps are asked for, which torus nodes answer with where they have them. */
  startTimes?: boolean;
};

/** Of a series' objects, beside the bytes of their frame. */
const BYTES_OF_SERIES = 300;

/** What a message of a torus endpoint holds at least, if there is so much: large ones cost less on the way. */
const FRAME_BYTES = String(256 << 10);

/** The label sets that this thread saw of late. */
const labelTable = new LabelTable(32 << 20);

class ResponseTimeoutError extends Error {
  constructor(timeoutMs: number) {
    super(`no answer within ${timeoutMs} ms (--store.response-timeout)`);
    this.name = "ResponseTimeoutError";
  }
}

/** Series of all endpoints in ascending label order, equal label sets in one, an element of `chunks` from each endpoint. */
export function fanOutSeries(
  endpoints: readonly Endpoint[],
  request: SeriesRequest,
  call: FanOutCall,
): SeriesStream<Uint8Array> {
  const { minTime, maxTime, matchers } = request;
  const missing = new Missing(call);
  const asked = reachable(endpoints, { minTime, maxTime, matchers }, missing);
  const streams = asked.map((endpoint) => endpointSeries(endpoint, request, call, missing));
  return mergeSeries(streams);
}

/**
 * Those of the endpoints that can have what is wanted and can be asked. One that can have it and is known not to
 * answer is missing at once: asking it could take as long as the query may.
 *
 * @throws {FanOutError} when one is missing and partial answers are not wanted
 */
function reachable(
  endpoints: readonly Endpoint[],
  wanted: { minTime: number; maxTime: number; matchers: readonly Matcher[] },
  missing: Missing,
): Endpoint[] {
  return endpoints.filter((endpoint) => {
    const { info, healthy, strict, address, lastError } = endpoint;
    const mayBeNeeded =
      info === null || mayHave(info, wanted.minTime, wanted.maxTime, wanted.matchers);
    if (!mayBeNeeded) return false;
    if (info !== null && (healthy || strict)) return true;
    missing.add(endpoint, `endpoint ${address} does not answer: ${lastError}`);
    return false;
  });
}

async function* endpointSeries(
  endpoint: Endpoint,
  request: SeriesRequest,
  call: FanOutCall,
  missing: Missing,
): AsyncGenerator<readonly SeriesOf<Uint8Array>[]> {
  const sorted = endpoint.info?.store?.supportsWithoutReplicaLabels === true;
  const without = new Set(request.withoutReplicaLabels);
  const body = encodeSeriesRequest({
    ...request,
    partialResponseStrategy: call.partialResponse ? PartialResponse.WARN : PartialResponse.ABORT,
  });
  let held = 0;
  let exceeded: unknown;
  const charge = (bytes: number) => {
    held += bytes;
    try {
      call.charge(bytes);
    } catch (error) {
      exceeded = error;
      throw error;
    }
  };
  try {
    const frames = framesWithin(
      call.responseTimeoutMs,
      endpoint.client.serverStream("/thanos.Store/Series", body, {
        timeoutMs: 0,
        metadata: {
          "thanos-tenant": call.tenant,
          [FRAME_BYTES_HEADER]: FRAME_BYTES,
          [START_TIMES_HEADER]: call.startTimes === true ? StartTimes.WANTED : StartTimes.STORED,
        },
        signal: call.signal,
      }),
    );
    const all: SeriesOf<Uint8Array>[] = [];
    for await (const frame of frames) {
      const { series, warnings } = decodeSeriesFrame(frame, labelTable);
      for (const warning of warnings) call.onWarning(`${endpoint.address}: ${warning}`);
      if (series.length === 0) continue;
      const bytes = frame.length + series.length * BYTES_OF_SERIES;
      charge(bytes);
      if (sorted || without.size === 0) {
        yield series;
        charge(-bytes);
      } else for (const each of series) all.push(each);
    }
    // An endpoint that cannot leave labels out answers with them, in the order that they give.
    if (all.length > 0) yield stripped(all, without);
  } catch (error) {
    call.signal.throwIfAborted();
    // The query's own limit is no failure of the endpoint.
    if (error === exceeded) throw error;
    missing.add(endpoint, `receive series from ${endpoint.address}: ${errorText(error)}`, error);
  } finally {
    call.charge(-held);
  }
}

function stripped(
  series: readonly SeriesOf<Uint8Array>[],
  without: ReadonlySet<string>,
): SeriesOf<Uint8Array>[] {
  const out = series.map(({ labels, chunks }) => ({
    labels: withoutLabels(labels, without),
    chunks,
  }));
  return out.sort((a, b) => compareLabels(a.labels, b.labels));
}

async function* framesWithin(
  timeoutMs: number,
  frames: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  if (timeoutMs === 0) {
    yield* frames;
    return;
  }
  const iterator = frames[Symbol.asyncIterator]();
  try {
    for (;;) {
      const { value, done } = await within(timeoutMs, iterator.next());
      if (done === true) return;
      yield value;
    }
  } finally {
    // Not waited for: an endpoint that stands still would keep us here.
    void iterator.return?.().then(
      () => undefined,
      () => undefined,
    );
  }
}

async function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new ResponseTimeoutError(timeoutMs)), timeoutMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Label names, or the values of `request.label`, of all endpoints: their union, sorted. */
export async function fanOutLabels(
  kind: "names" | "values",
  endpoints: readonly Endpoint[],
  request: LabelsRequest,
  call: FanOutCall,
): Promise<string[]> {
  const path = kind === "names" ? "/thanos.Store/LabelNames" : "/thanos.Store/LabelValues";
  const body = encodeLabelsRequest(kind, {
    ...request,
    partialResponseStrategy: call.partialResponse ? PartialResponse.WARN : PartialResponse.ABORT,
  });
  const found = new Set<string>();
  const { start: minTime, end: maxTime, matchers } = request;
  const missing = new Missing(call);
  const asked = reachable(endpoints, { minTime, maxTime, matchers }, missing);
  await Promise.all(
    asked.map(async (endpoint) => {
      try {
        const answer = await endpoint.client.unary(path, body, {
          timeoutMs: call.responseTimeoutMs,
          metadata: { "thanos-tenant": call.tenant },
          signal: call.signal,
        });
        const { strings, warnings } = decodeLabelsResponse(answer);
        for (const string of strings) found.add(string);
        for (const warning of warnings) call.onWarning(`${endpoint.address}: ${warning}`);
      } catch (error) {
        call.signal.throwIfAborted();
        const text = `fetch label ${kind} from ${endpoint.address}: ${errorText(error)}`;
        missing.add(endpoint, text, error);
      }
    }),
  );
  const out = [...found].sort(compareStrings);
  return request.limit > 0 ? out.slice(0, request.limit) : out;
}
