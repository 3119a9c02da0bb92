import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";
import { staleHistogram } from "./chunkenc/stored-histogram.ts";
import { writeCheckpoint } from "./db-checkpoint.ts";
import { readLog } from "./wlog/reader.ts";
import { decodeRecord, encodeRecord, type LogRecord } from "./wlog/records.ts";
import { LogWriter } from "./wlog/writer.ts";

const scratch = mkdtempSync(path.join(tmpdir(), "torus-checkpoint-"));
afterAll(() => rmSync(scratch, { recursive: true }));

test("what is older than the checkpoint's time leaves the log, whatever kind of record it is in", () => {
  const walDir = path.join(scratch, "wal");
  const base = { ref: 1, time: 100n };
  const place = (time: bigint) => ({ ref: 1, time, startTime: 0n });
  const histogram = staleHistogram(false);
  const started = (...times: bigint[]): LogRecord => ({
    type: 11,
    base: { ref: 1, time: times[0] ?? 0n },
    samples: times.map((time, i) => ({ ref: 1, time, startTime: BigInt(i % 2) * 7n, value: time })),
  });
  const records: LogRecord[] = [
    { type: 1, series: [{ ref: 1, labels: ["a", "b"] }] },
    { type: 2, base, samples: [100n, 200n].map((time) => ({ ...place(time), value: 1n })) },
    { type: 7, base, samples: [100n, 200n].map((time) => ({ ...place(time), histogram })) },
    { type: 7, base, samples: [{ ...place(100n), histogram }] },
    started(100n, 200n, 201n),
    started(100n, 149n),
    started(150n, 250n),
    { type: 12, base, samples: [100n, 200n].map((time) => ({ ...place(time), histogram })) },
    {
      type: 4,
      base,
      exemplars: [100n, 200n].map((time) => ({ ref: 1, time, value: 2n, labels: ["t", "u"] })),
    },
    {
      type: 3,
      tombstones: [
        { ref: 1, mint: 0n, maxt: 100n },
        { ref: 1, mint: 0n, maxt: 300n },
      ],
    },
    { type: 6, metadata: [{ ref: 1, metricType: 1, fields: [["HELP", "x"]] }] },
  ];
  const wal = new LogWriter(walDir, { compression: "none" });
  wal.log(records.map(encodeRecord));
  const last = wal.segment;
  wal.nextSegment();
  wal.close();
  writeCheckpoint({ walDir, last, keep: Uint32Array.of(2), mint: 150, compression: "none" });
  const got: unknown[] = [];
  const dir = path.join(walDir, `checkpoint.${String(last).padStart(8, "0")}`);
  expect(readLog(dir, 0, 9, (bytes) => got.push(decodeRecord(bytes)))).toBeNull();
  expect(got).toMatchObject([
    records[0],
    { type: 2, samples: [{ time: 200n }] },
    { type: 7, samples: [{ time: 200n }] },
    {
      type: 11,
      samples: [
        { time: 200n, startTime: 7n, value: 200n },
        { time: 201n, startTime: 0n, value: 201n },
      ],
    },
    started(150n, 250n),
    { type: 12, samples: [{ time: 200n }] },
    { type: 4, exemplars: [{ time: 200n }] },
    { type: 3, tombstones: [{ maxt: 300n }] },
  ]);
  const counts = (got as LogRecord[]).map((record) =>
    "samples" in record ? record.samples.length : 1,
  );
  expect(counts).toEqual([1, 1, 1, 2, 2, 1, 1, 1]);
});
