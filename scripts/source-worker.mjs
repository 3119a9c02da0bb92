/** A worker thread's first module where the program runs from source: `workerData.entry` is the URL of its TypeScript. */

import { workerData } from "node:worker_threads";
import { register } from "tsx/esm/api";

register();
await import(workerData.entry);
