/**
 * What a query thread is asked, and how it answers. Everything here is copied between threads: plain data.
 *
 *   main                                        query thread
 *     run {id, job, endpoints}        ->
 *                                     <-        head {id, contentType, …}
 *                                     <-        part {id, bytes}          at most WINDOW parts ahead
 *     credit {id, parts}              ->
 *     abort {id}                      ->
 *                                     <-        end {id, peakBytes} or failure {id, type, message}
 *
 * A small answer is one message, for each of which a thread has to be woken:
 *                                     <-        whole {id, contentType, …, bytes, peakBytes}
 */

import type { Matcher } from "@torus/model";
import type { EngineFeature } from "@torus/promql";
import type { DedupFunction, EndpointState } from "@torus/store";
import type { ErrorType } from "./api-error.ts";
import type { TextTask } from "./expression-endpoints.ts";
import type { FederateFormat } from "./federate-format.ts";

/** How one request wants its data: Thanos' parameters beyond Prometheus'. */
export type DataOptions = {
  dedup: boolean;
  /** Null: those of the flags. */
  replicaLabels: readonly string[] | null;
  partialResponse: boolean;
  /** Milliseconds; 0 for raw data only. */
  maxResolutionMs: number;
  tenant: string;
};

type Evaluated = {
  query: string;
  lookbackDeltaMs: number;
  /** 0 for no limit; likewise below. */
  limit: number;
  stats: boolean;
  /** The answer tells what each operator cost. */
  analyze: boolean;
};

type Selected = {
  /** As they were written: whatever they say is read in the query's thread. */
  selectors: readonly string[];
  mint: number;
  maxt: number;
  limit: number;
};

export type QueryTask =
  | (Evaluated & { kind: "instant"; timeMs: number })
  | (Evaluated & { kind: "range"; startMs: number; endMs: number; stepMs: number })
  | {
      kind: "explain";
      query: string;
      lookbackDeltaMs: number;
      /** Equal ends and a step of 0 for an instant query. */
      startMs: number;
      endMs: number;
      stepMs: number;
    }
  | (Selected & { kind: "series" })
  | (Selected & { kind: "labelNames" })
  | (Selected & { kind: "labelValues"; name: string })
  | (Selected & { kind: "statistics" })
  | { kind: "text"; task: TextTask; query: string }
  | { kind: "read"; body: Uint8Array }
  | {
      kind: "federate";
      selectors: readonly string[];
      nowMs: number;
      lookbackMs: number;
      format: FederateFormat;
    };

export type QueryJob = {
  task: QueryTask;
  data: DataOptions;
  timeoutMs: number;
  /** When the request came, in ms since the epoch. */
  askedAtMs: number;
};

/** What all queries have in common. */
export type QuerySettings = {
  ringReplicaLabels: readonly string[];
  replicaLabels: readonly string[];
  algorithm: DedupFunction;
  /** Nodes of the ring that may fail without being missed. */
  spareReplicas: number;
  responseTimeoutMs: number;
  maxSamples: number;
  /** Of one query; 0 for no limit, likewise below. */
  maxBytes: number;
  /** Of all queries together. */
  maxTotalBytes: number;
  lookbackDeltaMs: number;
  /** The step of a subquery that names none. */
  noStepSubqueryIntervalMs: number;
  features: readonly EngineFeature[];
  maxMessageBytes: number;
};

/** What a thread is started with. */
export type ThreadStart = {
  settings: QuerySettings;
  /** Slots of `SharedBytes`, and which of them is the thread's. */
  slots: Int32Array<SharedArrayBuffer>;
  slot: number;
};

export type TaskAnswer = {
  contentType: string;
  /** What the parts are packed with already. */
  contentEncoding: string | null;
  /** The storage or the engine warned, so the answer is not to be kept. */
  warned: boolean;
  parts: AsyncIterable<Uint8Array>;
};

export type AnswerHead = Omit<TaskAnswer, "parts">;

/** Asks whoever evaluates. @throws {ApiError} */
export type TaskRunner = (
  job: QueryJob,
  storeMatch: readonly (readonly Matcher[])[],
  signal: AbortSignal,
) => Promise<TaskAnswer>;

/** An answer with no more bytes is one message. */
export const WHOLE_BYTES = 256 * 1024;

/** Parts that a thread may be ahead of the client. */
export const WINDOW = 32;

export type ToThread =
  | { type: "run"; id: number; job: QueryJob; endpoints: readonly EndpointState[] }
  | { type: "credit"; id: number; parts: number }
  | { type: "abort"; id: number };

export type FromThread =
  | { type: "started" }
  | ({ type: "head"; id: number } & AnswerHead)
  | { type: "part"; id: number; bytes: Uint8Array }
  | ({ type: "whole"; id: number; bytes: Uint8Array; peakBytes: number } & AnswerHead)
  | { type: "end"; id: number; peakBytes: number }
  | { type: "failure"; id: number; errorType: ErrorType; message: string; peakBytes: number };
