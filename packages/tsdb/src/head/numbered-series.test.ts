/** Rows by number against the same samples by label: one head is the other's judge. */

import { RegisteredSeries, SeriesRefs, Verdict, xorDecodeChunk } from "@torus/kernels";
import { ChunkEncoding } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { Head } from "./head.ts";
import type { NumberedSeries } from "./numbered-series.ts";
import { NumberedRowsMalformedError } from "./numbered-series.ts";
import { LogWriteError, type RecordLog } from "./record-log.ts";
import { type TestSeries, walkedRequest } from "./test-requests.ts";

const HOUR = 3_600_000;
const START = 1_700_000_000_000 - (1_700_000_000_000 % (2 * HOUR));

class MemoryLog implements RecordLog {
  readonly records: Uint8Array[] = [];
  failing = false;
  log(records: readonly Uint8Array[]): void {
    if (this.failing) throw new Error("ENOSPC: no space left on device");
    for (const record of records) this.records.push(record.slice());
  }
}

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

function newHead(
  outOfOrderWindowMs: number,
  log = new MemoryLog(),
  lateLog = new MemoryLog(),
): Head {
  const head = new Head(log, lateLog, {
    startTimes: true,
    outOfOrderWindowMs,
    maxExemplars: 0,
    chunkRangeMs: 2 * HOUR,
    seriesLimit: 0,
    now: () => START + 10 * HOUR,
  });
  closing.push(() => head.close());
  return head;
}

/**
 * A sender and a receiver in one: what is registered goes as rows, the rest as a request whose numbers are bound. Rows
 * of unknown series come again with labels.
 */
class Link {
  readonly refs = new SeriesRefs(10_000);
  readonly registered = new RegisteredSeries();
  readonly bound: NumberedSeries;
  readonly head: Head;

  constructor(head: Head) {
    this.head = head;
    this.bound = head.numberedSeries();
    closing.push(() => {
      this.refs.free();
      this.registered.free();
      this.bound.free();
    });
  }

  send(series: readonly TestSeries[]) {
    const request = walkedRequest(series);
    try {
      const found = this.refs.find(request, 0);
      const { rows, baseTime, bytes, starts, order, rest } = this.refs.rows(
        request,
        found,
        null,
        this.registered,
        true,
      );
      const byVerdict = new Uint32Array(16);
      const add = (counts: Uint32Array) =>
        counts.forEach((n, i) => {
          byVerdict[i] = (byVerdict[i] as number) + n;
        });
      if (rest.length > 0) add(this.head.append(request, rest).byVerdict);
      const numbers = new Uint32Array(request.count);
      for (const index of rest) {
        const number = (found.words[index * 2] as number) >>> 0;
        numbers[index] = number + 1;
        this.registered.set(number, true);
      }
      this.bound.bind(request, numbers);
      const appended = this.bound.append(bytes.slice(), rows, baseTime, starts.slice());
      add(appended.byVerdict);
      const again = Uint32Array.from(appended.unknown, (row) => order[row] as number);
      if (again.length > 0) add(this.head.append(request, again).byVerdict);
      for (const index of again) {
        this.registered.set((found.words[index * 2] as number) >>> 0, false);
      }
      const { refused, unknown } = appended;
      return { rest: rest.length, refused, unknown, byVerdict };
    } finally {
      request.release();
    }
  }
}

async function dump(head: Head): Promise<string[]> {
  const out: string[] = [];
  const select = {
    mint: Number.MIN_SAFE_INTEGER,
    maxt: Number.MAX_SAFE_INTEGER,
    matchers: [],
    skipChunks: false,
    startTimes: true,
    limit: 0,
    signal: new AbortController().signal,
  };
  for (const source of [head, head.late]) {
    for await (const batch of source.selectChunks(select)) {
      for (const { labels, chunks } of batch) {
        for (const { data, encoding } of chunks) {
          if (encoding !== ChunkEncoding.XOR) {
            out.push(`${labels.join()} ${encoding} ${Buffer.from(data).toString("hex")}`);
            continue;
          }
          const count = (data[0] as number) * 256 + (data[1] as number);
          const times = new Float64Array(count);
          const values = new Float64Array(count);
          xorDecodeChunk(data, times, values);
          out.push(
            `${labels.join()} ${[...times].join()} ${Buffer.from(values.buffer).toString("hex")}`,
          );
        }
      }
    }
  }
  return out;
}

const anyStart = fc.constantFrom(0, 0, START - HOUR, START, -5, 2 ** 53 - 1);
const anyValue = fc.constantFrom(0, 1, 1.5, -7, Number.NaN, Number.POSITIVE_INFINITY, 1e300);
/** One time for all, as a scrape has: which of a request's series comes first must not decide. */
const anyRequest = fc
  .tuple(
    fc.integer({ min: 0, max: 600 }),
    fc.uniqueArray(fc.tuple(fc.integer({ min: 0, max: 9 }), anyValue, anyStart), {
      selector: ([name]) => name,
      maxLength: 8,
    }),
  )
  .map(([step, series]): TestSeries[] =>
    series.map(([name, value, startTime]) => ({
      labels: ["__name__", `m${name}`, "x", "y"],
      samples: [[START + step * 15_000, value, startTime]],
    })),
  );

test.each([0, HOUR])(
  "rows are stored as the same samples by label, window %i ms",
  async (window) => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyRequest, { maxLength: 20 }), async (requests) => {
        const logs = Array.from({ length: 4 }, () => new MemoryLog());
        const judge = newHead(window, logs[0], logs[1]);
        const link = new Link(newHead(window, logs[2], logs[3]));
        for (const request of requests) {
          const walked = walkedRequest(request);
          const expected = judge.append(walked, null).byVerdict;
          walked.release();
          expect([...link.send(request).byVerdict].slice(0, expected.length)).toEqual([
            ...expected,
          ]);
        }
        expect(await dump(link.head)).toEqual(await dump(judge));
        // What is logged either way is the same head again.
        for (const [log, lateLog] of [logs.slice(0, 2), logs.slice(2)] as [
          MemoryLog,
          MemoryLog,
        ][]) {
          const again = newHead(window);
          const replay = again.beginReplay(Number.NEGATIVE_INFINITY);
          for (const record of log.records) replay.record(record);
          for (const record of lateLog.records) replay.lateRecord(record);
          replay.end();
          expect(await dump(again)).toEqual(await dump(judge));
          again.close();
        }
      }),
      { numRuns: 200 },
    );
  },
);

const up = (time: number, value: number): TestSeries[] =>
  ["a", "b", "c"].map((x) => ({ labels: ["__name__", "up", "x", x], samples: [[time, value]] }));

test("after its registration a series travels without labels, and is logged as ever", async () => {
  const log = new MemoryLog();
  const link = new Link(newHead(0, log));
  expect(link.send(up(START, 1)).rest).toBe(3);
  const second = link.send(up(START + 15_000, 2));
  expect(second).toMatchObject({ rest: 0, unknown: [], refused: [] });
  expect(second.byVerdict[Verdict.ACCEPTED]).toBe(3);
  const again = newHead(0);
  const replay = again.beginReplay(Number.NEGATIVE_INFINITY);
  for (const record of log.records) replay.record(record);
  replay.end();
  expect(await dump(again)).toEqual(await dump(link.head));
  expect(again.seriesCount).toBe(3);
});

test("a conflict names its row, a repeated sample is success", () => {
  const link = new Link(newHead(0));
  link.send(up(START, 1));
  link.send(up(START + 15_000, 2));
  const one = up(START + 15_000, 2);
  const other = { ...(one[1] as TestSeries), samples: [[START + 15_000, 3]] as [number, number][] };
  const result = link.send([one[0] as TestSeries, other, one[2] as TestSeries]);
  expect(result.refused).toEqual([[1, Verdict.CONFLICT]]);
  expect(result.byVerdict[Verdict.DUPLICATE]).toBe(2);
});

test("a series that the head let go of is unknown, and known again once it is registered again", async () => {
  const link = new Link(newHead(0));
  link.send(up(START, 1));
  await link.head.truncate(START + 2 * HOUR);
  expect(link.head.seriesCount).toBe(0);
  // Others may take the memory of those that went.
  const other = walkedRequest([
    { labels: ["__name__", "other"], samples: [[START + 4 * HOUR, 1]] },
  ]);
  link.head.append(other, null);
  other.release();
  expect(link.send(up(START + 5 * HOUR, 2)).unknown).toEqual([0, 1, 2]);
  expect(link.send(up(START + 5 * HOUR + 1, 2))).toMatchObject({ rest: 3, unknown: [] });
  expect(link.send(up(START + 6 * HOUR, 2)).unknown).toEqual([]);
  expect(link.head.seriesCount).toBe(4);
});

test("a log that cannot be written stores nothing of the rows", async () => {
  const log = new MemoryLog();
  const link = new Link(newHead(0, log));
  link.send(up(START, 1));
  const before = await dump(link.head);
  log.failing = true;
  expect(() => link.send(up(START + 15_000, 2))).toThrow(LogWriteError);
  expect(await dump(link.head)).toEqual(before);
  log.failing = false;
  expect(link.send(up(START + 15_000, 2)).byVerdict[Verdict.ACCEPTED]).toBe(3);
});

test("rows cut anywhere, and any bytes, are refused or name no series, and leave the head whole", async () => {
  const link = new Link(newHead(0));
  link.send(up(START, 1));
  const before = await dump(link.head);
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.uint8Array({ maxLength: 12 }),
      fc.integer({ min: 1, max: 8 }),
      (bytes, starts, count) => {
        try {
          const { unknown, refused } = link.bound.append(bytes, count, 0n, starts);
          expect(unknown.length + refused.length).toBeLessThanOrEqual(count);
        } catch (error) {
          expect(error).toBeInstanceOf(NumberedRowsMalformedError);
        }
      },
    ),
    { numRuns: 2000 },
  );
  // Times far from now are all out of bounds, so nothing came in.
  expect(await dump(link.head)).toEqual(before);
});
