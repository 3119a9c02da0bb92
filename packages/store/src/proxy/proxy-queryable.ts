/**
 * The engine's view of all endpoints: series merged, copies and replicas made one, in columns.
 *
 * Two kinds of copies are told apart. Those that the hashring made differ in the ring's replica labels and hold the
 * same samples: their union is taken. Those of Prometheus servers that scrape the same targets differ in the
 * replica labels, and in their timestamps: one of them is followed at a time, by `deduplication.func`.
 */

import { XorColumns } from "@torus/kernels";
import {
  ChunkEncoding,
  compareLabels,
  type LabelSelect,
  type Queryable,
  type SeriesColumns,
  type SeriesSelect,
  withoutLabels,
} from "@torus/model";
import {
  claimedSamples,
  decodeChunkFields,
  emptySeriesRequest,
  type LabelsRequest,
  type WireChunk,
} from "@torus/protocol";
import { type Columns, clip, NO_COLUMNS } from "../dedup/columns.ts";
import {
  type DedupFunction,
  dedupColumns,
  dedupOne,
  dedupReplicas,
  mergeCopies,
} from "../dedup/dedup.ts";
import type { SeriesOf } from "../merge.ts";
import type { Endpoint } from "./endpoints.ts";
import { type FanOutCall, fanOutLabels, fanOutSeries } from "./fan-out.ts";

export type ProxyQueryOptions = {
  /** Those to be asked, already chosen by `storeMatch[]`. */
  endpoints: readonly Endpoint[];
  /** Off: every copy is a series of its own. */
  dedup: boolean;
  ringReplicaLabels: readonly string[];
  replicaLabels: readonly string[];
  algorithm: DedupFunction;
  partialResponse: boolean;
  /** Nodes of the ring that may fail unnoticed, because every acknowledged sample is held by another. */
  spareReplicas: number;
  responseTimeoutMs: number;
  /** Largest window of downsampled data in ms; 0 for raw data only. */
  maxResolutionMs: number;
  tenant: string;
  /** Told of bytes that are held from now on, and of those given up as a negative number; throws when they are too many. */
  charge?: (bytes: number) => void;
};

const RESPONSE_BATCH = 64;
const BYTES_OF_LABEL = 40;
/** Series that are decoded at a time: few enough that their columns stay in the processor's cache. */
const DECODED_BATCH = 16;

/** What chunks become as columns, by the number of samples that each claims. */
function decodedBytes(chunks: readonly WireChunk[]): number {
  let bytes = 0;
  for (const chunk of chunks) {
    const { encoding } = chunk;
    const perSample =
      encoding === ChunkEncoding.XOR ? 16 : encoding === ChunkEncoding.XOR2 ? 24 : 400;
    bytes += claimedSamples(chunk) * perSample;
  }
  return bytes;
}

function columnsIn(decoded: XorColumns): Columns {
  const { length } = decoded;
  return {
    timestamps: decoded.timestamps(0, length),
    values: decoded.values(0, length),
    histograms: null,
    startTimestamps: null,
  };
}

export class ProxyQueryable implements Queryable {
  readonly #options: ProxyQueryOptions;
  readonly #without: readonly string[];

  constructor(options: ProxyQueryOptions) {
    this.#options = options;
    this.#without = options.dedup
      ? [...new Set([...options.ringReplicaLabels, ...options.replicaLabels])]
      : [];
  }

  #call(signal: AbortSignal, onWarning: (text: string) => void): FanOutCall {
    const { partialResponse, ringReplicaLabels, spareReplicas, responseTimeoutMs, tenant } =
      this.#options;
    return {
      partialResponse,
      ringReplicaLabels,
      spareReplicas,
      responseTimeoutMs,
      tenant,
      signal,
      onWarning,
      charge: (bytes) => this.#charge(bytes),
    };
  }

  /** Choosing between replicas makes counters running totals: theirs begin at no other time. */
  #wantsStartTimes({ startTimes }: SeriesSelect): boolean {
    const { dedup, replicaLabels } = this.#options;
    return startTimes === true && !(dedup && replicaLabels.length > 0);
  }

  #charge(bytes: number): void {
    this.#options.charge?.(bytes);
  }

  async *select(select: SeriesSelect): AsyncGenerator<readonly SeriesColumns[]> {
    const { dedup, replicaLabels, ringReplicaLabels, algorithm } = this.#options;
    const bothKinds = dedup && replicaLabels.length > 0 && ringReplicaLabels.length > 0;
    if (bothKinds) {
      yield* this.#inTwoSteps(select);
      return;
    }
    const { mint, maxt, skipChunks } = select;
    const { func } = select.hints;
    const startTimes = this.#wantsStartTimes(select);
    const chosen = dedup && replicaLabels.length > 0;
    const columnsOf = (
      encoded: readonly Uint8Array[],
      into: XorColumns,
      charge: (bytes: number) => void,
    ): Columns => {
      const [only] = encoded;
      if (only !== undefined && encoded.length === 1) {
        into.clear();
        const plain = into.appendSeries(only, mint, maxt, startTimes, (samples) =>
          charge(samples * 16),
        );
        if (plain)
          return clip(chosen ? dedupOne(columnsIn(into), func) : columnsIn(into), mint, maxt);
      }
      const chunks = decodeChunkFields(encoded);
      charge(decodedBytes(chunks));
      return chosen
        ? dedupReplicas(chunks, mint, maxt, algorithm, func)
        : mergeCopies(chunks, mint, maxt);
    };
    const reused = Array.from({ length: DECODED_BATCH }, () => new XorColumns());
    try {
      for await (const batch of this.#series(select, this.#without)) {
        for (let from = 0; from < batch.length; from += DECODED_BATCH) {
          const out: SeriesColumns[] = [];
          let bytes = 0;
          try {
            for (const { labels, chunks } of batch.slice(from, from + DECODED_BATCH)) {
              const columns = skipChunks
                ? NO_COLUMNS
                : columnsOf(chunks, reused[out.length] as XorColumns, (more) => {
                    bytes += more;
                    this.#charge(more);
                  });
              if (skipChunks || columns.timestamps.length > 0) {
                const startTimestamps = startTimes ? columns.startTimestamps : null;
                out.push({ labels, ...columns, startTimestamps });
              }
            }
            if (out.length > 0) yield out;
          } finally {
            this.#charge(-bytes);
          }
        }
      }
    } finally {
      for (const each of reused) each.release();
    }
  }

  /**
   * With both kinds of labels: first the ring's copies of each replica become one, then replicas are chosen between.
   * Series of one group are not side by side until the replica labels are gone, so all are collected and sorted.
   */
  async *#inTwoSteps(select: SeriesSelect): AsyncGenerator<readonly SeriesColumns[]> {
    let bytes = 0;
    try {
      yield* this.#collected(select, (more) => {
        bytes += more;
        this.#charge(more);
      });
    } finally {
      this.#charge(-bytes);
    }
  }

  async *#collected(
    select: SeriesSelect,
    charge: (bytes: number) => void,
  ): AsyncGenerator<readonly SeriesColumns[]> {
    const { replicaLabels, ringReplicaLabels, algorithm } = this.#options;
    const replicas = new Set(replicaLabels);
    const all: (Columns & { labels: SeriesColumns["labels"] })[] = [];
    for await (const batch of this.#series(select, ringReplicaLabels)) {
      for (const { labels, chunks: encoded } of batch) {
        const chunks = decodeChunkFields(encoded);
        charge(labels.length * BYTES_OF_LABEL + (select.skipChunks ? 0 : decodedBytes(chunks)));
        const columns = select.skipChunks
          ? NO_COLUMNS
          : mergeCopies(chunks, select.mint, select.maxt);
        all.push({
          labels: withoutLabels(labels, replicas),
          ...clip(columns, select.mint, select.maxt),
        });
      }
    }
    all.sort((a, b) => compareLabels(a.labels, b.labels));
    let out: SeriesColumns[] = [];
    for (let i = 0; i < all.length; ) {
      const { labels } = all[i] as (typeof all)[number];
      let end = i + 1;
      while (
        end < all.length &&
        compareLabels((all[end] as (typeof all)[number]).labels, labels) === 0
      )
        end++;
      const group = all.slice(i, end).filter(({ timestamps }) => timestamps.length > 0);
      i = end;
      const columns = dedupColumns(group, algorithm, select.hints.func);
      if (columns.timestamps.length === 0 && !select.skipChunks) continue;
      out.push({ labels, ...columns, startTimestamps: null });
      if (out.length === 256) {
        yield out;
        out = [];
      }
    }
    if (out.length > 0) yield out;
  }

  #series(
    select: SeriesSelect,
    without: readonly string[],
  ): AsyncIterable<readonly SeriesOf<Uint8Array>[]> {
    const { hints } = select;
    return fanOutSeries(
      this.#options.endpoints,
      {
        ...emptySeriesRequest(),
        minTime: select.mint,
        maxTime: select.maxt,
        matchers: [...select.matchers],
        maxResolutionWindow: this.#options.maxResolutionMs,
        aggregates: aggregatesFor(hints.func),
        skipChunks: select.skipChunks,
        queryHints: {
          stepMs: hints.stepMs,
          func: hints.func,
          grouping:
            hints.grouping.length > 0 ? { by: hints.by, labels: [...hints.grouping] } : null,
          rangeMs: hints.rangeMs,
          projectionLabels: [],
          projectionInclude: false,
          seriesHashLabelName: "",
        },
        withoutReplicaLabels: [...without],
        limit: select.limit,
        responseBatchSize: RESPONSE_BATCH,
      },
      {
        ...this.#call(select.signal, select.onWarning),
        startTimes: this.#wantsStartTimes(select),
      },
    );
  }

  labelNames(select: LabelSelect & { onWarning: (text: string) => void }): Promise<string[]> {
    return this.#labels("names", "", select);
  }

  labelValues(
    name: string,
    select: LabelSelect & { onWarning: (text: string) => void },
  ): Promise<string[]> {
    return this.#labels("values", name, select);
  }

  #labels(
    kind: "names" | "values",
    label: string,
    select: LabelSelect & { onWarning: (text: string) => void },
  ): Promise<string[]> {
    const request: LabelsRequest = {
      label,
      partialResponseDisabled: false,
      partialResponseStrategy: 0,
      start: select.mint,
      end: select.maxt,
      matchers: [...select.matchers],
      withoutReplicaLabels: [...this.#without],
      limit: select.limit,
    };
    return fanOutLabels(
      kind,
      this.#options.endpoints,
      request,
      this.#call(select.signal, select.onWarning),
    );
  }
}

const Aggr = { COUNT: 1, SUM: 2, MIN: 3, MAX: 4, COUNTER: 5 } as const;

/** Which aggregates of downsampled data a function needs (Thanos' messages: pkg/store/storepb). */
export function aggregatesFor(func: string): number[] {
  if (/^(rate|irate|increase|resets|xrate|xincrease)$/.test(func)) return [Aggr.COUNTER];
  if (func === "min" || func.startsWith("min_")) return [Aggr.MIN];
  if (func === "max" || func.startsWith("max_")) return [Aggr.MAX];
  if (func === "count" || func.startsWith("count_")) return [Aggr.COUNT];
  if (func.startsWith("sum_")) return [Aggr.SUM];
  return [Aggr.COUNT, Aggr.SUM];
}
