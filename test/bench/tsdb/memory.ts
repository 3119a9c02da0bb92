/** Memory of a head: resident bytes of this process with the series, less those before the first one. */

import { kernel } from "@torus/kernels";
import { Requests, SERIES_PER_REQUEST } from "./load.ts";
import type { Row } from "./report.ts";
import { appendBody, openStore, residentBytes, scratchDirectory } from "./store.ts";

const ROUNDS = 120;
const STEP_MS = 15_000;

export async function memory(series: number): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    const db = await openStore(dir);
    // What the load itself takes: its request bodies.
    const requests = new Requests(series, STEP_MS);
    let time = Date.now() - ROUNDS * STEP_MS;
    const warm = new Requests(SERIES_PER_REQUEST, STEP_MS);
    for (const body of warm.round(time)) appendBody(db, body);
    const before = residentBytes();
    const heapBefore = process.memoryUsage();
    const arenaBefore = kernel().exports.arenaBytesInUse();
    for (let round = 0; round < ROUNDS; round++) {
      time += STEP_MS;
      for (const body of requests.round(time)) appendBody(db, body);
    }
    const arena = kernel().exports.arenaBytesInUse() - arenaBefore;
    const after = residentBytes();
    const heap = process.memoryUsage();
    await db.close();
    return [
      [`series x samples each`, `${series} x ${ROUNDS}`, ""],
      ["resident bytes/series", (after - before) / series, "<= 1229"],
      ["… of these in the kernels' memory", arena / series, ""],
      ["… JavaScript heap", (heap.heapUsed - heapBefore.heapUsed) / series, ""],
      ["… typed arrays", (heap.arrayBuffers - heapBefore.arrayBuffers) / series, ""],
    ];
  } finally {
    remove();
  }
}
