/**
 * One thread of the process for cutting, compacting and checkpointing, whatever the number of tenants: their work runs
 * one after another, so that its memory is needed once. It is started by the first job and ends when it has been idle.
 *
 * The worker reads heads in the kernels' memory of this thread; it writes only files.
 */

import { Worker } from "node:worker_threads";
import type { JobKind, Jobs } from "./jobs.ts";

const IDLE_MS = 10_000;

export type JobRequest<K extends JobKind> = { id: number; kind: K; input: Jobs[K]["input"] };
export type JobAnswer = {
  id: number;
  result?: unknown;
  error?: {
    name: string;
    message: string;
    stack: string | undefined;
    code: string | undefined;
  };
};

/** A job ended with an error, of which `cause` has the worker's stack. */
export class BackgroundJobError extends Error {
  readonly kind: JobKind;
  /** The name of the error's class. */
  readonly reason: string;
  /** Of a system error: ENOSPC, EIO … */
  readonly code: string | undefined;
  constructor(kind: JobKind, { name, message, stack, code }: NonNullable<JobAnswer["error"]>) {
    super(`${kind}: ${message}`, { cause: stack });
    this.name = "BackgroundJobError";
    this.kind = kind;
    this.reason = name;
    this.code = code;
  }
}

type Waiting = {
  kind: JobKind;
  resolve: (result: never) => void;
  reject: (error: Error) => void;
};

class StorageWorker {
  readonly #thread = startThread();
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #idle: NodeJS.Timeout | undefined;
  ended = false;

  constructor() {
    this.#thread.on("message", (answer: JobAnswer) => this.#answered(answer));
    this.#thread.on("error", (error) => this.#end(error));
    this.#thread.on("exit", (code) =>
      this.#end(new Error(`the storage worker ended with ${code}`)),
    );
  }

  run<K extends JobKind>(kind: K, input: Jobs[K]["input"]): Promise<Jobs[K]["result"]> {
    clearTimeout(this.#idle);
    this.#thread.ref();
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { kind, resolve, reject });
      try {
        this.#thread.postMessage({ id, kind, input } satisfies JobRequest<K>);
      } catch (error) {
        this.#waiting.delete(id);
        reject(error as Error);
      }
    });
  }

  #answered({ id, result, error }: JobAnswer): void {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    this.#waiting.delete(id);
    if (error === undefined) waiting.resolve(result as never);
    else waiting.reject(new BackgroundJobError(waiting.kind, error));
    if (this.#waiting.size > 0) return;
    this.#thread.unref();
    this.#idle = setTimeout(() => {
      this.#end(new Error("the storage worker was idle"));
      void this.#thread.terminate();
    }, IDLE_MS).unref();
  }

  #end(error: Error): void {
    this.ended = true;
    clearTimeout(this.#idle);
    for (const { kind, reject } of this.#waiting.values()) {
      const { message, stack } = error;
      reject(new BackgroundJobError(kind, { name: error.name, message, stack, code: undefined }));
    }
    this.#waiting.clear();
  }
}

let worker: StorageWorker | undefined;

/**
 * Runs a job in the storage worker, behind those before it.
 * @throws {BackgroundJobError} also when the thread dies.
 */
export function runInBackground<K extends JobKind>(
  kind: K,
  input: Jobs[K]["input"],
): Promise<Jobs[K]["result"]> {
  if (worker === undefined || worker.ended) worker = new StorageWorker();
  return worker.run(kind, input);
}

function startThread(): Worker {
  // A bundle has the worker's bundle beside it; sources are loaded through tsx, wherever this runs.
  if (!import.meta.url.endsWith(".ts")) {
    return new Worker(new URL("./storage-worker.mjs", import.meta.url));
  }
  const entry = new URL("./storage-worker.ts", import.meta.url).href;
  return new Worker(new URL("../../../../scripts/source-worker.mjs", import.meta.url), {
    workerData: { entry },
    execArgv: [],
  });
}
