/**
 * The threads that run queries. Each runs one job at a time, so that the system shares the processors between
 * queries and none waits for another; threads are made when all are busy, as many as may run at a time, and those
 * beyond one a processor end when they have been idle for a while. A thread that does not stop when it is told to,
 * that runs out of memory or fails is ended and replaced; only its own job sees an error.
 */

import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { errorText, type Logger } from "@torus/server";
import type { EndpointState } from "@torus/store";
import { Counter, Gauge, type Registry } from "prom-client";
import { Admission } from "./admission.ts";
import { ApiError, apiError } from "./api-error.ts";
import { SharedBytes } from "./byte-budget.ts";
import {
  type AnswerHead,
  type FromThread,
  type QueryJob,
  type QuerySettings,
  type TaskAnswer,
  type ThreadStart,
  type ToThread,
  WINDOW,
} from "./query-job.ts";

export type WorkerPoolOptions = {
  settings: QuerySettings;
  /** Queries at a time, and as many lookups of series and labels beside them. */
  maxConcurrent: number;
  /** A thread's heap at most, in MiB. Without it as the settings' `maxBytes` ask for. */
  heapMb?: number;
  /** Time in ms that a thread has to stop a job before it is ended. */
  abortGraceMs?: number;
  log: Logger;
  metrics: Registry;
};

const IDLE_MS = 60_000;
const ABORT_GRACE_MS = 500;
/** A thread whose job held more is ended after it: memory goes back to the system. */
const RETIRE_BYTES = 256 * 1024 * 1024;
/** Of a thread's heap besides what its query may hold: what it begins with is garbage as often as not. */
const BASE_HEAP_MB = 320;
/**
 * What came from endpoints dies young, and in too small a space it lives on: over 2,000 series of a day, a query took
 * 0.36 to 0.54 CPU seconds with this and 0.47 to 0.67 with Node's default.
 */
const YOUNG_MB = 64;
/**
 * Frames and columns lie outside of the heap and count with it: a thread whose heap began small marked all of it for
 * each query. `sum by (job) (rate(x[5m]))` over a day of 230 series took 28 CPU ms with this and 47 without.
 */
const FIRST_HEAP_MB = 128;
/** Parts that are given back at a time. */
const CREDIT = WINDOW / 4;

/** What reads samples. */
const QUERIES: ReadonlySet<string> = new Set(["instant", "range", "read", "federate"]);

/** The job that a thread runs. */
type Job = {
  id: number;
  onHead: (head: AnswerHead) => void;
  onPart: (bytes: Uint8Array) => void;
  /** Null when all parts came. */
  onEnd: (error: ApiError | null) => void;
  /** The thread, or its end, makes room for another job. */
  onFree: () => void;
};

class QueryThread {
  readonly worker: Worker;
  readonly slot: number;
  job: Job | null = null;
  idleTimer: NodeJS.Timeout | undefined;
  constructor(worker: Worker, slot: number) {
    this.worker = worker;
    this.slot = slot;
  }
}

export class WorkerPool {
  readonly #options: WorkerPoolOptions;
  readonly #queries: Admission;
  readonly #lookups: Admission;
  readonly #threads = new Set<QueryThread>();
  readonly #idle: QueryThread[] = [];
  readonly #warm: number;
  readonly #bytes: SharedBytes;
  readonly #freeSlots: number[];
  readonly #ended: Counter<"reason">;
  #nextId = 1;
  #stopped = false;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#queries = new Admission(options.maxConcurrent);
    this.#lookups = new Admission(options.maxConcurrent);
    // A thread that is being ended has its slot until it is gone, and the one in its place has another.
    const slots = 4 * options.maxConcurrent;
    this.#bytes = new SharedBytes(options.settings.maxTotalBytes, slots);
    this.#freeSlots = Array.from({ length: slots }, (_, i) => slots - 1 - i);
    this.#warm = Math.min(options.maxConcurrent, availableParallelism());
    this.#ended = this.#countInto(options.metrics);
    for (let i = 0; i < this.#warm; i++) this.#idle.push(this.#open());
  }

  get threads(): number {
    return this.#threads.size;
  }

  get running(): number {
    return this.#queries.running;
  }

  get waiting(): number {
    return this.#queries.waiting;
  }

  get heldBytes(): number {
    return this.#bytes.heldBytes;
  }

  /** The gauges read when they are printed. @returns threads that were ended with their query */
  #countInto(metrics: Registry): Counter<"reason"> {
    const registers = [metrics];
    const gauge = (name: string, help: string, read: () => number) =>
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    const { maxConcurrent } = this.#options;
    const gate = "thanos_query_concurrent_gate_queries";
    gauge(`${gate}_max`, "Queries that may run at a time.", () => maxConcurrent);
    gauge(`${gate}_in_flight`, "Queries that run.", () => this.running);
    gauge("torus_query_waiting", "Queries that wait for their turn.", () => this.waiting);
    gauge("torus_query_threads", "Threads that run queries or wait for them.", () => this.threads);
    gauge("torus_query_held_bytes", "Bytes that queries hold.", () => this.heldBytes);
    return new Counter({
      name: "torus_query_threads_ended_total",
      help: "Threads that were ended together with their query: it did not stop, or memory ran out, or it crashed.",
      labelNames: ["reason"],
      registers,
    });
  }

  /**
   * Resolves when the first byte of the answer is there; parts come as they are read.
   *
   * @throws {ApiError}
   */
  run(
    job: QueryJob,
    endpoints: readonly EndpointState[],
    signal: AbortSignal,
  ): Promise<TaskAnswer> {
    const isQuery = QUERIES.has(job.task.kind);
    const admission = isQuery ? this.#queries : this.#lookups;
    return new Promise((resolve, reject) => {
      // The place is free when the thread is, which may be long after the answer began.
      admission
        .run(signal, () => this.#onThread(job, endpoints, signal, resolve, reject))
        .catch(reject);
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all([...this.#threads].map((thread) => this.#close(thread)));
  }

  #onThread(
    job: QueryJob,
    endpoints: readonly EndpointState[],
    signal: AbortSignal,
    resolve: (answer: TaskAnswer) => void,
    reject: (error: unknown) => void,
  ): Promise<void> {
    if (signal.aborted) {
      reject(apiError(signal.reason));
      return Promise.resolve();
    }
    const thread = this.#idle.pop() ?? this.#open();
    clearTimeout(thread.idleTimer);
    thread.worker.ref();
    const id = this.#nextId++;
    const post = (message: ToThread) => thread.worker.postMessage(message);
    return new Promise((done) => {
      let grace: NodeJS.Timeout | undefined;
      const abort = () => {
        const reason = signal.aborted
          ? apiError(signal.reason)
          : new ApiError("canceled", "nobody reads the answer");
        parts.fail(reason);
        reject(reason);
        post({ type: "abort", id });
        grace = setTimeout(() => {
          this.#options.log.warn("query thread is ended: its query does not stop", {
            kind: job.task.kind,
          });
          this.#ended.inc({ reason: "unresponsive" });
          void this.#close(thread);
        }, this.#options.abortGraceMs ?? ABORT_GRACE_MS);
      };
      const parts = new PartQueue(
        (count) => post({ type: "credit", id, parts: count }),
        () => {
          if (thread.job?.id === id && grace === undefined) abort();
        },
      );
      signal.addEventListener("abort", abort, { once: true });
      thread.job = {
        id,
        onHead: ({ contentType, contentEncoding, warned }) =>
          resolve({ contentType, contentEncoding, warned, parts }),
        onPart: (bytes) => parts.push(bytes),
        onEnd: (error) => {
          signal.removeEventListener("abort", abort);
          clearTimeout(grace);
          thread.job = null;
          if (error === null) parts.end();
          else {
            parts.fail(error);
            reject(error);
          }
        },
        onFree: done,
      };
      post({ type: "run", id, job, endpoints });
    });
  }

  #open(): QueryThread {
    const { settings, log } = this.#options;
    const bounded = BASE_HEAP_MB + Math.ceil(settings.maxBytes / 2 ** 20);
    const heapMb = this.#options.heapMb ?? (settings.maxBytes === 0 ? undefined : bounded);
    const slot = this.#freeSlots.pop();
    if (slot === undefined) throw new Error("more query threads than ever may be");
    // There is no resource limit for it; what it says holds for threads that are made from now on.
    setFlagsFromString(`--initial-heap-size=${FIRST_HEAP_MB}`);
    const worker = openWorker(
      { settings, slots: this.#bytes.slots, slot },
      {
        resourceLimits: {
          maxYoungGenerationSizeMb: YOUNG_MB,
          ...(heapMb === undefined ? {} : { maxOldGenerationSizeMb: heapMb }),
        },
      },
    );
    worker.unref();
    const thread = new QueryThread(worker, slot);
    this.#threads.add(thread);
    worker.on("message", (message: FromThread) => this.#onMessage(thread, message));
    worker.on("error", (error: Error) => {
      const isMemory = "code" in error && error.code === "ERR_WORKER_OUT_OF_MEMORY";
      log.error("query thread failed", { err: errorText(error) });
      this.#ended.inc({ reason: isMemory ? "out_of_memory" : "crash" });
      this.#lost(
        thread,
        isMemory
          ? new ApiError(
              "execution",
              `query was ended: its thread ran out of memory (--query.max-bytes=${settings.maxBytes})`,
            )
          : new ApiError("internal", `query thread failed: ${errorText(error)}`),
      );
    });
    worker.on("exit", () => {
      this.#lost(thread, new ApiError("canceled", "the query's thread was ended"));
    });
    return thread;
  }

  #lost(thread: QueryThread, error: ApiError): void {
    if (!this.#threads.delete(thread)) return;
    this.#bytes.set(thread.slot, 0, false);
    this.#freeSlots.push(thread.slot);
    const at = this.#idle.indexOf(thread);
    if (at !== -1) this.#idle.splice(at, 1);
    clearTimeout(thread.idleTimer);
    const { job } = thread;
    job?.onEnd(error);
    job?.onFree();
  }

  #onMessage(thread: QueryThread, message: FromThread): void {
    const { job } = thread;
    if (message.type === "started" || job === null || job.id !== message.id) return;
    switch (message.type) {
      case "head":
        job.onHead(message);
        break;
      case "part":
        job.onPart(message.bytes);
        break;
      case "whole":
        job.onPart(message.bytes);
        job.onHead(message);
        job.onEnd(null);
        this.#free(thread, message.peakBytes, job);
        break;
      case "end":
        job.onEnd(null);
        this.#free(thread, message.peakBytes, job);
        break;
      case "failure":
        job.onEnd(new ApiError(message.errorType, message.message));
        this.#free(thread, message.peakBytes, job);
    }
  }

  #free(thread: QueryThread, peakBytes: number, job: Job): void {
    thread.worker.unref();
    if (this.#stopped || peakBytes > RETIRE_BYTES) {
      void this.#close(thread).then(job.onFree);
      return;
    }
    this.#idle.push(thread);
    thread.idleTimer = setTimeout(() => {
      if (this.#threads.size > this.#warm) void this.#close(thread);
    }, IDLE_MS).unref();
    job.onFree();
  }

  async #close(thread: QueryThread): Promise<void> {
    const at = this.#idle.indexOf(thread);
    if (at !== -1) this.#idle.splice(at, 1);
    await thread.worker.terminate();
  }
}

function openWorker(start: ThreadStart, options: WorkerOptions): Worker {
  // A bundle has the thread's bundle beside it; sources are loaded through tsx, wherever this runs.
  if (!import.meta.url.endsWith(".ts")) {
    const bundle = new URL("./query-worker.mjs", import.meta.url);
    return new Worker(bundle, { ...options, workerData: start });
  }
  const entry = new URL("./query-worker.ts", import.meta.url).href;
  return new Worker(new URL("../../../scripts/source-worker.mjs", import.meta.url), {
    ...options,
    workerData: { entry, ...start },
    execArgv: [],
  });
}

/** Parts between the thread's messages and whoever reads; each that is read gives the thread room for another. */
class PartQueue implements AsyncIterable<Uint8Array> {
  readonly #parts: Uint8Array[] = [];
  readonly #credit: (parts: number) => void;
  readonly #left: () => void;
  #read = 0;
  #ended = false;
  #error: ApiError | null = null;
  #wake: () => void = () => undefined;

  constructor(credit: (parts: number) => void, left: () => void) {
    this.#credit = credit;
    this.#left = left;
  }

  push(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  fail(error: ApiError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        if (this.#error !== null) throw this.#error;
        const part = this.#parts.shift();
        if (part !== undefined) {
          if (++this.#read % CREDIT === 0 && !this.#ended) this.#credit(CREDIT);
          yield part;
        } else if (this.#ended) return;
        else await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      if (!this.#ended) this.#left();
    }
  }
}
