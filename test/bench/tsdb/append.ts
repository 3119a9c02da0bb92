/**
 * Appending without a network, with the log: new series, then steady ones; then the start that replays that log, and the
 * one with a snapshot, and the chunks decoded again. CPU seconds are those of all threads of this process.
 */

import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding, Matcher } from "@torus/model";
import { Requests } from "./load.ts";
import type { Row } from "./report.ts";
import { appendBody, openStore, scratchDirectory } from "./store.ts";

const ROUNDS = 60;
const STEP_MS = 15_000;

export async function append(series: number): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    let db = await openStore(dir);
    const requests = new Requests(series, STEP_MS);
    let time = Date.now() - ROUNDS * STEP_MS;
    let created = 0;
    for (const body of requests.round(time)) created += appendBody(db, body);
    let steady = 0;
    for (let round = 1; round < ROUNDS; round++) {
      time += STEP_MS;
      for (const body of requests.round(time)) steady += appendBody(db, body);
    }
    const samples = series * (ROUNDS - 1);
    const decoded = await decode(db);
    await db.close();
    const began = performance.now();
    db = await openStore(dir);
    const seconds = (performance.now() - began) / 1000;
    const replayed = db.replayed.samples;
    await db.close();
    const { writing, starting, bytes } = await snapshot(dir);
    return [
      ["series x samples each", `${series} x ${ROUNDS}`, ""],
      ["new series, CPU us each", created / series, "<= 4"],
      ["steady series, CPU us/sample: judge, chunk and log", steady / samples, "<= 0.3"],
      ["decode into columns, CPU ns/sample", decoded.nanos, "<= 10"],
      ["… bytes a sample of these chunks", decoded.bytesPerSample, ""],
      ["start, samples/s replayed from the log", replayed / seconds, ">= 1e6"],
      ["start from the log, s", seconds, ""],
      ["start from a snapshot, s", starting, ""],
      ["stop that writes the snapshot, s", writing, ""],
      ["snapshot, bytes a series", bytes / series, ""],
    ];
  } finally {
    remove();
  }
}

/** Seconds of a stop that writes a snapshot of what is in the directory, and of the start with it. */
async function snapshot(dir: string) {
  let db = await openStore(dir, 1);
  const closing = performance.now();
  await db.close();
  const opening = performance.now();
  db = await openStore(dir, 1);
  const opened = performance.now();
  if (db.replayed.samples > 0) throw new Error("the log was read in spite of the snapshot");
  const name = readdirSync(dir).find((each) => each.startsWith("head_snapshot.")) ?? "";
  const parts = readdirSync(path.join(dir, name));
  const bytes = parts.reduce((sum, part) => sum + statSync(path.join(dir, name, part)).size, 0);
  await db.close();
  return { writing: (opening - closing) / 1000, starting: (opened - opening) / 1000, bytes };
}

async function decode(db: Awaited<ReturnType<typeof openStore>>) {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=~", "__name__", ".+")],
    skipChunks: false,
    limit: 20_000,
    signal: new AbortController().signal,
  };
  for await (const batch of db.queryable().selectChunks(select)) {
    for (const each of batch) {
      for (const { encoding, data } of each.chunks) {
        if (encoding !== ChunkEncoding.XOR) continue;
        chunks.push(data);
        bytes += data.length;
      }
    }
  }
  const times = new Float64Array(1024);
  const values = new Float64Array(1024);
  let samples = 0;
  const before = process.cpuUsage();
  for (let pass = 0; pass < 10; pass++) {
    for (const chunk of chunks) samples += xorDecodeChunk(chunk, times, values);
  }
  const { user, system } = process.cpuUsage(before);
  return { nanos: ((user + system) * 1000) / samples, bytesPerSample: (bytes * 10) / samples };
}
