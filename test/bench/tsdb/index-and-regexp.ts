/**
 * The block of 100,000 series, cut by a worker thread: CPU seconds of all threads, chunks included, so that those of the
 * index are less. And regular expressions over a label of 100,000 values, in the head
 * and in a block.
 */

import { snappyEncode } from "@torus/kernels";
import { Matcher } from "@torus/model";
import { encodeWriteRequest } from "@torus/protocol";
import type { Tsdb } from "@torus/tsdb";
import { Requests } from "./load.ts";
import type { Row } from "./report.ts";
import { appendBody, openStore, scratchDirectory } from "./store.ts";

const SERIES = 100_000;
const BLOCK_MS = 7_200_000;
const PER_REQUEST = 2000;
const RUNS = 5;

export async function index(): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    const db = await openStore(dir);
    const requests = new Requests(SERIES, BLOCK_MS / 8);
    const start = Math.floor(Date.now() / BLOCK_MS) * BLOCK_MS - 2 * BLOCK_MS;
    // Two samples in the first block; the later one makes its cut due.
    for (const time of [start, start + BLOCK_MS / 8, start + 1.6 * BLOCK_MS]) {
      for (const body of requests.round(time)) appendBody(db, body);
    }
    const before = process.cpuUsage();
    const blocks = await db.compactHead();
    const { user, system } = process.cpuUsage(before);
    await db.close();
    if (blocks.length === 0) throw new Error("no block was cut");
    return [
      ["series", SERIES, ""],
      ["index and chunks of a block, checkpoint, CPU s", (user + system) / 1e6, "index < 2"],
    ];
  } finally {
    remove();
  }
}

export async function regexp(): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    const db = await openStore(dir);
    for (let from = 0; from < SERIES; from += PER_REQUEST) {
      const request = Array.from({ length: PER_REQUEST }, (_, i) => ({
        labels: ["__name__", "up", "pod", podName(from + i)],
        timestamps: Float64Array.of(Date.now()),
        values: Float64Array.of(1),
      }));
      appendBody(db, snappyEncode(encodeWriteRequest(request)));
    }
    const rows: Row[] = [["values", SERIES, ""]];
    rows.push(...(await finding(db, "head")));
    await db.flush();
    rows.push(...(await finding(db, "block")));
    await db.close();
    return rows;
  } finally {
    remove();
  }
}

/** CPU milliseconds of finding, the best of some runs: the machine has other work too. */
async function finding(db: Tsdb, where: string): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [expression, target] of [
    ["api-00042-x7|api-00077-x7", "< 20"],
    ["api-0004.*", "< 20"],
    [".*-x7", "< 20"],
    ["api-000(12|13|14)-.*", "< 20"],
    ["[a-z]+-[0-9]*42[0-9]-x[0-9]", "< 120"],
    [".*(a|b)?i-.*7.*7-x.", "< 120"],
  ] as const) {
    let best = Number.POSITIVE_INFINITY;
    for (let run = 0; run < RUNS; run++) {
      const select = {
        mint: 0,
        maxt: 2 ** 50,
        // Each anew: a matcher remembers the values that it has seen.
        matchers: [new Matcher("=~", "pod", expression)],
        skipChunks: true,
        // What is measured is the finding, not the making of labels.
        limit: 1,
        signal: new AbortController().signal,
      };
      const before = process.cpuUsage();
      for await (const batch of db.queryable().selectChunks(select)) {
        if (batch.length === 0) throw new Error("an empty batch");
      }
      const { user, system } = process.cpuUsage(before);
      best = Math.min(best, (user + system) / 1000);
    }
    const shown = expression.replaceAll("|", "\\|");
    rows.push([`${where}, pod=~"${shown}", CPU ms`, best, target]);
  }
  return rows;
}

function podName(i: number): string {
  return `api-${String(i).padStart(5, "0")}-x${i % 10}`;
}
