/** A thousand tiny databases in one process: resident bytes and open files of each. */

import { readdirSync } from "node:fs";
import path from "node:path";
import { snappyEncode } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";
import type { Row } from "./report.ts";
import { appendBody, openStore, residentBytes, scratchDirectory } from "./store.ts";

const TENANTS = 1000;
const SERIES = 10;
const ROUNDS = 20;
const STEP_MS = 15_000;

export async function tenants(): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    const bodies = (time: number) =>
      snappyEncode(
        encodeWriteRequest(
          Array.from({ length: SERIES }, (_, i) => ({
            labels: ["__name__", "up", "instance", `host-${i}:9100`, "job", "node"],
            timestamps: Float64Array.of(time),
            values: Float64Array.of(i),
          })),
        ),
      );
    const start = Date.now() - ROUNDS * STEP_MS;
    const first = await openStore(path.join(dir, "first"));
    appendBody(first, bodies(start));
    const before = { bytes: residentBytes(), files: openFiles() };
    const all = [];
    for (let i = 0; i < TENANTS; i++) all.push(await openStore(path.join(dir, `t-${i}`)));
    for (let round = 0; round < ROUNDS; round++) {
      const body = bodies(start + round * STEP_MS);
      for (const db of all) appendBody(db, body);
    }
    const bytes = (residentBytes() - before.bytes) / TENANTS;
    const files = (openFiles() - before.files) / TENANTS;
    for (const db of all) await db.close();
    await first.close();
    return [
      ["tenants x series x samples", `${TENANTS} x ${SERIES} x ${ROUNDS}`, ""],
      ["resident KiB a tenant", bytes / 1024, "<= 1024"],
      ["open files a tenant", files, "few"],
    ];
  } finally {
    remove();
  }
}

function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}
