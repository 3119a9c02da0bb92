/**
 * What start timestamps cost: an append of steady series (the log is only counted), and the replay of its records.
 *
 *     npx vitest bench --run packages/tsdb/src/head/start-runs.bench.ts
 */

import { WriteRequestBuffer } from "@torus/kernels";
import { bench, describe } from "vitest";
import { Head } from "./head.ts";
import type { RecordLog } from "./record-log.ts";
import { encodeWriteRequest } from "./test-requests.ts";

const SERIES = 20_000;
const PER_REQUEST = 2000;
const ROUNDS = 40;
const START = 1_700_000_000_000 - (1_700_000_000_000 % 7_200_000);

class KeptLog implements RecordLog {
  readonly records: Uint8Array[] = [];
  log(records: readonly Uint8Array[]): void {
    for (const record of records) this.records.push(record.slice());
  }
}

/** All requests of one scrape. */
function scrape(n: number, startTime: number): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let from = 0; from < SERIES; from += PER_REQUEST) {
    const series = Array.from({ length: PER_REQUEST }, (_, k) => ({
      labels: ["__name__", "requests_total", "instance", `i${from + k}`],
      samples: [[START + n * 15_000, n * (1 + ((from + k) % 17)), startTime] as const],
    }));
    out.push(encodeWriteRequest(series));
  }
  return out;
}

function newHead(startTimes: boolean, log: RecordLog): Head {
  return new Head(log, log, {
    chunkRangeMs: 7_200_000,
    seriesLimit: 0,
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    startTimes,
    now: () => START * 2,
  });
}

function send(head: Head, bodies: readonly Uint8Array[]): void {
  for (const body of bodies) {
    const request = WriteRequestBuffer.acquire();
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    request.walk(null);
    head.append(request, null);
    request.release();
  }
}

function replay(startTimes: boolean, records: readonly Uint8Array[]): void {
  const head = newHead(startTimes, new KeptLog());
  const replayed = head.beginReplay(Number.NEGATIVE_INFINITY);
  for (const record of records) replayed.record(record);
  replayed.end();
  head.close();
}

const cases: readonly [name: string, kept: boolean, startTime: number][] = [
  ["not kept, none sent", false, 0],
  ["kept, none sent", true, 0],
  ["kept and sent", true, START - 1000],
];

describe.each(cases)("%s", (_, kept, startTime) => {
  const log = new KeptLog();
  const head = newHead(kept, log);
  let n = 0;
  for (; n < ROUNDS; n++) send(head, scrape(n, startTime));
  const records = [...log.records];
  const next = Array.from({ length: ROUNDS + 8 }, () => scrape(n++, startTime));

  bench(
    `append ${SERIES} samples`,
    () => {
      const bodies = next.shift();
      log.records.length = 0;
      if (bodies !== undefined) send(head, bodies);
    },
    { iterations: ROUNDS - 4, time: 0, warmupIterations: 4, warmupTime: 0 },
  );

  bench(`replay ${SERIES * ROUNDS} samples`, () => replay(kept, records), {
    iterations: 5,
    time: 0,
    warmupIterations: 1,
    warmupTime: 0,
  });
});
