/** A file system that is really full, and has room again. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { Tsdb } from "./db.ts";
import { foundSamples } from "./faults/found-samples.ts";
import { Ledger } from "./faults/ledger.ts";
import { SampleStream, STEP_MS } from "./faults/sample-stream.ts";
import { send } from "./faults/send.ts";
import { LogWriteError } from "./head/record-log.ts";

const DISK_BYTES = 8 << 20;
const LEFT_BYTES = 1 << 19;
const BLOCK_MS = 60_000;

const disk = mkdtempSync(path.join(tmpdir(), "torus-full-"));
const mounted =
  spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "tmpfs", disk]).status === 0;
afterAll(() => {
  // Also where a failed test left the database open.
  if (mounted) spawnSync("umount", ["-l", disk]);
  rmSync(disk, { recursive: true, force: true });
});

function openFiles(): number {
  const on = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return on.filter((file) => file.startsWith(disk)).length;
}

function openDb(): Promise<Tsdb> {
  return Tsdb.open({
    dir: path.join(disk, "data"),
    blockDurationMs: BLOCK_MS,
    retentionMs: 0,
    maxBytes: 0,
    outOfOrderWindowMs: 50 * STEP_MS,
    maxExemplars: 0,
    snapshotBytes: 0,
    walCompression: "none",
    seriesLimit: 0,
    now: () => 2 ** 45,
    log: () => undefined,
  });
}

test.skipIf(!mounted)(
  "what a full disk (a tmpfs, which root can mount) refuses is not acknowledged, the rest is there, and with room it goes on",
  async () => {
    const ballast = path.join(disk, "ballast");
    writeFileSync(ballast, new Uint8Array(DISK_BYTES - LEFT_BYTES));
    const ledger = new Ledger(2 ** 14);
    const stream = new SampleStream(3, 1);
    let n = 1;
    let samples = stream.next();
    const sendNext = (db: Tsdb): unknown => {
      try {
        const stored = send(db, samples);
        expect(stored).not.toBe(0n);
        ledger.sent(n++, samples, stored);
        samples = stream.next();
        return null;
      } catch (error) {
        ledger.sent(n, samples, null);
        return error;
      }
    };
    const before = openFiles();
    const db = await openDb();
    let refused: unknown = null;
    for (let i = 0; i < 10_000 && refused === null; i++) refused = sendNext(db);
    expect(refused).toBeInstanceOf(LogWriteError);
    expect(String((refused as LogWriteError).message)).toMatch(/ENOSPC/);
    await expect(db.compactHead()).rejects.toThrow(/ENOSPC|no space/);
    expect(ledger.check(await foundSamples(db))).toEqual([]);
    expect(sendNext(db)).toBeInstanceOf(LogWriteError);
    rmSync(ballast);
    for (let i = 0; i < 100; i++) expect(sendNext(db)).toBeNull();
    expect(ledger.check(await foundSamples(db))).toEqual([]);
    await db.close();
    expect(openFiles()).toBe(before);
    const again = await openDb();
    expect(ledger.check(await foundSamples(again))).toEqual([]);
    expect((await again.compactHead()).length).toBeGreaterThan(0);
    expect(ledger.check(await foundSamples(again))).toEqual([]);
    await again.close();
  },
  60_000,
);
