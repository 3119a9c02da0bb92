/**
 * StoreAPI and Info over a changing list of sources: what receive and the store gateway serve.
 * The rules are Thanos' (Thanos, pkg/store and pkg/query/endpointset.go): external labels are matched first and win over a series'
 * own, replica labels are taken out before ordering, every chunk carries its hash, parts that fail become
 * warnings or ABORTED as the caller asks.
 */

import { compareStrings, type Labels, MatcherRegexError } from "@torus/model";
import {
  decodeLabelsRequest,
  decodeMetadataRequest,
  decodeSeriesRequest,
  encodeInfo,
  encodeLabelsResponse,
  encodeMetadataResponse,
  type LabelsRequest,
  METRIC_METADATA,
  MessageMalformedError,
  type MetricMetadata,
  PartialResponse,
} from "@torus/protocol";
import { type GrpcCall, GrpcError, type GrpcMethods, GrpcStatus } from "@torus/server";
import { type ExemplarSource, exemplarMethods } from "./exemplars.ts";
import { messageOf, seriesAnswer } from "./series-answer.ts";
import { matchExternal, overlaps, type StoreSource } from "./source.ts";

/** Milliseconds, mint and maxt inclusive; the coarsest resolution wanted, 0 for raw samples only. */
export type SourcesWanted = { mint: number; maxt: number; maxResolutionMs: number };

export type StoreServiceOptions = {
  /** `receive` or `store`. */
  componentType: string;
  /**
   * Asked anew for each call. For Series with what is wanted: whoever holds the same data in several resolutions gives
   * one of each. For all else with null: everything.
   */
  sources: (wanted: SourcesWanted | null) => readonly StoreSource[];
  /** An error instead of an answer while not ready: this keeps a replaying node out of queries. */
  ready: () => boolean;
  /** A receiver says that it has data up to the end of time, so that new samples need no new Info. */
  openEnded: boolean;
  /** What metrics are, in words; left out where that is not served. */
  metadata?: (metric: string, limit: number) => ReadonlyMap<string, MetricMetadata[]>;
  /** Left out where none are served. Asked anew for each call. */
  exemplars?: () => readonly ExemplarSource[];
};

const MAX_INT64 = 2 ** 63;

export function storeMethods(options: StoreServiceOptions): GrpcMethods {
  const guarded = <T>(run: () => T): T => {
    if (!options.ready())
      throw new GrpcError(GrpcStatus.UNAVAILABLE, `${options.componentType} is not ready`);
    try {
      return run();
    } catch (error) {
      throw asGrpcError(error);
    }
  };
  const { metadata } = options;
  const metadataMethods: GrpcMethods =
    metadata === undefined
      ? {}
      : {
          [METRIC_METADATA]: {
            kind: "serverStream",
            handler: (message) =>
              guarded(() => {
                const { metric, limit } = decodeMetadataRequest(message);
                return one(encodeMetadataResponse(metadata(metric, limit)));
              }),
          },
        };
  return {
    ...metadataMethods,
    ...(options.exemplars === undefined ? {} : exemplarMethods(options.exemplars)),
    "/thanos.info.Info/Info": { kind: "unary", handler: () => guarded(() => info(options)) },
    "/thanos.Store/Series": {
      kind: "serverStream",
      handler: (message, call) =>
        guarded(() => {
          const request = decodeSeriesRequest(message);
          const { minTime: mint, maxTime: maxt, maxResolutionWindow: maxResolutionMs } = request;
          return seriesAnswer(options.sources({ mint, maxt, maxResolutionMs }), request, call);
        }),
    },
    "/thanos.Store/LabelNames": {
      kind: "unary",
      handler: (message, call) =>
        guarded(() =>
          labelNames(options.sources(null), decodeLabelsRequest("names", message), call),
        ),
    },
    "/thanos.Store/LabelValues": {
      kind: "unary",
      handler: (message, call) =>
        guarded(() =>
          labelValues(options.sources(null), decodeLabelsRequest("values", message), call),
        ),
    },
  };
}

async function* one(message: Uint8Array): AsyncGenerator<Uint8Array> {
  yield message;
}

function asGrpcError(error: unknown): unknown {
  if (error instanceof MessageMalformedError || error instanceof MatcherRegexError) {
    return new GrpcError(GrpcStatus.INVALID_ARGUMENT, error.message, { cause: error });
  }
  return error;
}

function info({
  componentType,
  sources,
  openEnded,
  metadata,
  exemplars,
}: StoreServiceOptions): Uint8Array {
  const byLabels = new Map<string, { labels: Labels; minTime: number; maxTime: number }>();
  let minTime = Number.POSITIVE_INFINITY;
  let maxTime = Number.NEGATIVE_INFINITY;
  for (const source of sources(null)) {
    // A tenant without samples yet is announced all the same, or its first samples would wait for the next Info.
    const empty = source.mint > source.maxt;
    const from = empty ? MAX_INT64 : source.mint;
    const to = openEnded ? MAX_INT64 : empty ? -MAX_INT64 : source.maxt;
    const key = JSON.stringify(source.labels);
    const entry = byLabels.get(key) ?? { labels: source.labels, minTime: from, maxTime: to };
    entry.minTime = Math.min(entry.minTime, from);
    entry.maxTime = Math.max(entry.maxTime, to);
    byLabels.set(key, entry);
    minTime = Math.min(minTime, from);
    maxTime = Math.max(maxTime, to);
  }
  const tsdbInfos = [...byLabels.values()].map((entry) => ({
    ...entry,
    // From the first sample on it must be found by whoever asks for the past, too.
    minTime: openEnded && entry.minTime === MAX_INT64 ? 0 : entry.minTime,
  }));
  return encodeInfo({
    labelSets: tsdbInfos.map(({ labels }) => labels),
    componentType,
    metricMetadata: metadata !== undefined,
    exemplars: exemplars !== undefined,
    store: {
      minTime: openEnded
        ? Math.min(...tsdbInfos.map((entry) => entry.minTime), MAX_INT64)
        : minTime,
      maxTime: openEnded ? MAX_INT64 : maxTime,
      supportsSharding: true,
      supportsWithoutReplicaLabels: true,
      tsdbInfos,
    },
  });
}

/** The union of what each source answers; the failure of one is a warning or the end. */
async function collect(
  sources: readonly StoreSource[],
  request: LabelsRequest,
  ask: (source: StoreSource, matchers: LabelsRequest["matchers"]) => Promise<Iterable<string>>,
): Promise<Uint8Array> {
  const abort =
    request.partialResponseDisabled || request.partialResponseStrategy === PartialResponse.ABORT;
  const found = new Set<string>();
  const warnings: string[] = [];
  for (const source of sources) {
    if (!overlaps(source, request.start, request.end)) continue;
    const matchers = matchExternal(source.labels, request.matchers);
    if (matchers === null) continue;
    try {
      for (const string of await ask(source, matchers)) found.add(string);
    } catch (error) {
      if (abort) throw new GrpcError(GrpcStatus.ABORTED, messageOf(error), { cause: error });
      warnings.push(messageOf(error));
    }
  }
  const strings = [...found].sort(compareStrings);
  const limited = request.limit > 0 ? strings.slice(0, request.limit) : strings;
  return encodeLabelsResponse({ strings: limited, warnings });
}

function labelNames(
  sources: readonly StoreSource[],
  request: LabelsRequest,
  call: GrpcCall,
): Promise<Uint8Array> {
  const without = new Set(request.withoutReplicaLabels);
  return collect(sources, request, async (source, matchers) => {
    const names = await source.queryable.labelNames({
      mint: request.start,
      maxt: request.end,
      matchers,
      limit: 0,
      signal: call.signal,
    });
    if (names.length === 0) return [];
    const external = source.labels.filter((_, i) => i % 2 === 0);
    return [...names, ...external].filter((name) => !without.has(name));
  });
}

function labelValues(
  sources: readonly StoreSource[],
  request: LabelsRequest,
  call: GrpcCall,
): Promise<Uint8Array> {
  const { label } = request;
  if (label === "") {
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, "label name parameter cannot be empty");
  }
  const without = new Set(request.withoutReplicaLabels);
  return collect(sources, request, async (source, matchers) => {
    if (without.has(label)) return [];
    const select = {
      mint: request.start,
      maxt: request.end,
      matchers,
      limit: 0,
      signal: call.signal,
    };
    for (let i = 0; i < source.labels.length; i += 2) {
      if (source.labels[i] !== label) continue;
      const any = matchers.length === 0 || (await hasSeries(source, select));
      return any ? [source.labels[i + 1] as string] : [];
    }
    return source.queryable.labelValues(label, select);
  });
}

async function hasSeries(
  source: StoreSource,
  select: Parameters<StoreSource["queryable"]["labelNames"]>[0],
): Promise<boolean> {
  for await (const batch of source.queryable.selectChunks({
    ...select,
    skipChunks: true,
    limit: 1,
  })) {
    if (batch.length > 0) return true;
  }
  return false;
}
