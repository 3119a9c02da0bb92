/** The storage worker's thread: runs the jobs that background.ts sends, one after another. */

import { parentPort } from "node:worker_threads";
import type { JobAnswer, JobRequest } from "./background.ts";
import { JOBS, type JobKind } from "./jobs.ts";

let last: Promise<void> = Promise.resolve();

async function answer<K extends JobKind>({ id, kind, input }: JobRequest<K>): Promise<void> {
  let out: JobAnswer;
  try {
    out = { id, result: await JOBS[kind](input) };
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    const { name = "Error", code } = error as { name?: string; code?: string };
    out = { id, error: { name, message, stack, code } };
  }
  parentPort?.postMessage(out);
}

parentPort?.on("message", (request: JobRequest<JobKind>) => {
  last = last.then(() => answer(request));
});
