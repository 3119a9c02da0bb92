/**
 * The process that db-crash.test.ts kills: appends, cuts and checkpoints as fast as it can, and prints the time of
 * each round after it was acknowledged. Arguments: directory, first round, step in ms.
 */

import { writeSync } from "node:fs";
import { setImmediate as nextTurn } from "node:timers/promises";
import { Tsdb } from "./db.ts";
import { walkedRequest } from "./head/test-requests.ts";

const [dir = "", first = "0", step = "1000"] = process.argv.slice(2);
const SERIES = 30;

const db = await Tsdb.open({
  dir,
  blockDurationMs: 120_000,
  retentionMs: 0,
  maxBytes: 0,
  outOfOrderWindowMs: 0,
  walCompression: "snappy",
  seriesLimit: 0,
  now: () => 2 ** 45,
  log: () => undefined,
});
let cutting = false;
for (let round = Number(first); ; round++) {
  const time = round * Number(step);
  const request = walkedRequest(
    Array.from({ length: SERIES }, (_, i) => ({
      labels: ["__name__", "up", "job", i < 25 ? `j${i}` : `churn-${Math.floor(round / 50)}-${i}`],
      samples: [[time, round + i] as const],
    })),
  );
  db.append(request, null);
  request.release();
  writeSync(1, `${round}\n`);
  if (round % 97 === 0 && !cutting) {
    cutting = true;
    void db.compactHead().then(() => {
      cutting = false;
    });
  }
  if (round % 5 === 0) await nextTurn();
}
