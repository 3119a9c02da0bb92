import { SERIES_WORDS, SeriesWord, Verdict, xorDecodeChunk } from "@torus/kernels";
import { type ChunkSeries, Matcher } from "@torus/model";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { Head } from "./head.ts";
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

function replay(head: Head, log: MemoryLog) {
  const into = head.beginReplay(Number.NEGATIVE_INFINITY);
  for (const record of log.records) into.record(record);
  into.end();
  return into.counts;
}

const heads: Head[] = [];
function newHead(
  log = new MemoryLog(),
  options: { seriesLimit?: number; now?: number } = {},
): Head {
  const head = new Head(log, log, {
    outOfOrderWindowMs: 0,
    maxExemplars: 0,
    chunkRangeMs: 2 * HOUR,
    seriesLimit: options.seriesLimit ?? 0,
    now: () => options.now ?? START + 10 * HOUR,
  });
  heads.push(head);
  return head;
}
afterEach(() => {
  for (const head of heads.splice(0)) head.close();
});

function append(head: Head, series: readonly TestSeries[], chosen: Uint32Array | null = null) {
  const request = walkedRequest(series);
  try {
    const counts = head.append(request, chosen);
    const words = request.series;
    const verdicts = series.map((_, i) => words[i * SERIES_WORDS + SeriesWord.VERDICT]);
    const rejected = series.map((_, i) => words[i * SERIES_WORDS + SeriesWord.REJECTED]);
    return { counts, verdicts, rejected };
  } finally {
    request.release();
  }
}

async function dump(
  head: Head,
  matchers = [new Matcher("=~", "__name__", ".+")],
  mint = 0,
  maxt = 2 ** 50,
) {
  const out: [labels: string, samples: [number, number][]][] = [];
  const all: ChunkSeries[] = [];
  const select = {
    mint,
    maxt,
    matchers,
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of head.selectChunks(select)) all.push(...batch);
  for (const { labels, chunks } of all) {
    const samples: [number, number][] = [];
    for (const chunk of chunks) {
      const times = new Float64Array(1000);
      const values = new Float64Array(1000);
      const n = xorDecodeChunk(chunk.data, times, values);
      expect(times[0]).toBe(chunk.minTime);
      expect(times[n - 1]).toBe(chunk.maxTime);
      for (let i = 0; i < n; i++) samples.push([times[i] as number, values[i] as number]);
    }
    out.push([labels.join(" "), samples]);
  }
  return out;
}

const up = (job: string, ...samples: [number, number][]): TestSeries => ({
  labels: ["__name__", "up", "job", job],
  samples,
});

test("samples come back by matcher, series in byte order of labels", async () => {
  const head = newHead();
  append(head, [
    up("b", [START, 1]),
    up("a", [START, 2]),
    up("a\u{1f600}", [START, 3]),
    up("a\uffff", [START, 4]),
  ]);
  append(head, [up("b", [START + 15_000, 5])]);
  expect(await dump(head)).toEqual([
    ["__name__ up job a", [[START, 2]]],
    ["__name__ up job a\uffff", [[START, 4]]],
    ["__name__ up job a\u{1f600}", [[START, 3]]],
    [
      "__name__ up job b",
      [
        [START, 1],
        [START + 15_000, 5],
      ],
    ],
  ]);
  expect(await dump(head, [new Matcher("=", "job", "b")])).toHaveLength(1);
  expect(await dump(head, [new Matcher("!=", "job", "b")])).toHaveLength(3);
  expect(await dump(head, [new Matcher("=", "absent", "")])).toHaveLength(4);
  expect(
    await dump(head, [new Matcher("!~", "job", "a.+"), new Matcher("=", "__name__", "up")]),
  ).toHaveLength(2);
});

test("each sample gets its verdict, and none spoils its batch", async () => {
  const head = newHead(new MemoryLog(), { now: START + HOUR });
  append(head, [up("a", [START + HOUR, 1])]);
  const { counts, verdicts, rejected } = append(head, [
    up("a", [START + HOUR, 1]),
    up("a", [START + HOUR, 2]),
    up("a", [START + HOUR - 1, 2]),
    up("old", [START - HOUR, 2]),
    up("future", [START + HOUR + 600_001, 1], [START + HOUR + 600_000, 1]),
    { labels: ["b", "1", "a", "2"], samples: [[START + HOUR, 1]] },
    { labels: ["a", "1", "a", "2"], samples: [[START + HOUR, 1]] },
    { labels: ["a", ""], samples: [[START + HOUR, 1]] },
    { labels: [], samples: [[START + HOUR, 1]] },
    up(
      "good",
      [START + HOUR, 7],
      [START + HOUR + 1, 7],
      [START + HOUR + 1, 8],
      [START + HOUR + 2, 8],
    ),
  ]);
  expect(verdicts).toEqual([
    Verdict.DUPLICATE,
    Verdict.CONFLICT,
    Verdict.OUT_OF_ORDER,
    Verdict.TOO_OLD,
    Verdict.TOO_FAR_IN_FUTURE,
    Verdict.INVALID_LABELS,
    Verdict.INVALID_LABELS,
    Verdict.INVALID_LABELS,
    Verdict.INVALID_LABELS,
    Verdict.CONFLICT,
  ]);
  expect(rejected).toEqual([0, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
  expect([...counts.byVerdict]).toEqual([4, 1, 1, 1, 1, 2, 4, 0, 0]);
  expect(head.maxTime).toBe(START + HOUR + 600_000);
  expect((await dump(head)).map(([labels]) => labels)).toEqual([
    "__name__ up job a",
    "__name__ up job future",
    "__name__ up job good",
  ]);
});

test("the series limit is exact, and existing series go on", () => {
  const head = newHead(new MemoryLog(), { seriesLimit: 2 });
  const { verdicts } = append(head, [
    up("a", [START, 1]),
    up("b", [START, 1]),
    up("c", [START, 1]),
  ]);
  expect(verdicts).toEqual([Verdict.ACCEPTED, Verdict.ACCEPTED, Verdict.SERIES_LIMIT]);
  expect(append(head, [up("b", [START + 1, 1])]).verdicts).toEqual([Verdict.ACCEPTED]);
  expect(head.seriesCount).toBe(2);
});

test("only the chosen entries are appended", async () => {
  const head = newHead();
  append(
    head,
    [up("a", [START, 1]), up("b", [START, 1]), up("c", [START, 1])],
    Uint32Array.of(2, 0),
  );
  expect((await dump(head)).map(([labels]) => labels)).toEqual([
    "__name__ up job a",
    "__name__ up job c",
  ]);
});

test("a replay of the log gives the same head", async () => {
  const log = new MemoryLog();
  const head = newHead(log);
  for (let i = 0; i < 500; i++) {
    append(head, [
      up("a", [START + i * 15_000, i]),
      up("b", [START + i * 15_000, Math.sin(i)]),
      up(`c${i % 7}`, [START + i * 15_000, 1]),
    ]);
  }
  const again = newHead();
  const counts = replay(again, log);
  expect(counts).toMatchObject({ series: 9, samples: 1500, unknownRefs: 0 });
  expect(await dump(again)).toEqual(await dump(head));
  expect([again.minTime, again.maxTime, again.seriesCount]).toEqual([
    head.minTime,
    head.maxTime,
    9,
  ]);
});

test("when the log cannot be written nothing is stored, and the next append carries what was missing", async () => {
  const log = new MemoryLog();
  const head = newHead(log);
  append(head, [up("a", [START, 1])]);
  log.failing = true;
  expect(() => append(head, [up("a", [START + 1, 9]), up("new", [START + 1, 9])])).toThrow(
    LogWriteError,
  );
  expect(await dump(head)).toEqual([["__name__ up job a", [[START, 1]]]]);
  log.failing = false;
  const { verdicts } = append(head, [up("a", [START + 1, 2]), up("new", [START + 1, 3])]);
  expect(verdicts).toEqual([0, 0]);
  const again = newHead();
  replay(again, log);
  expect(await dump(again)).toEqual(await dump(head));
  expect(await dump(head)).toEqual([
    [
      "__name__ up job a",
      [
        [START, 1],
        [START + 1, 2],
      ],
    ],
    ["__name__ up job new", [[START + 1, 3]]],
  ]);
});

test("a query that is under way sees nothing of later appends, even when chunks are closed meanwhile", async () => {
  const head = newHead();
  const jobs = Array.from({ length: 1100 }, (_, i) => `j${String(i).padStart(4, "0")}`);
  append(
    head,
    jobs.map((job) => up(job, [START, 1], [START + 1000, 2])),
  );
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    limit: 0,
    signal: new AbortController().signal,
  };
  let seen = 0;
  let round = 0;
  for await (const batch of head.selectChunks(select)) {
    // 300 more samples close the open chunk behind the reader's back.
    for (let i = 0; i < 300; i++, round++)
      append(
        head,
        jobs.slice(1000).map((job) => up(job, [START + 2000 + round, round])),
      );
    for (const { chunks } of batch) {
      const times = new Float64Array(1000);
      const values = new Float64Array(1000);
      expect(chunks).toHaveLength(1);
      expect(chunks[0]?.maxTime).toBe(START + 1000);
      expect(xorDecodeChunk(chunks[0]?.data as Uint8Array, times, values)).toBe(2);
      expect(values[1]).toBe(2);
      seen++;
    }
  }
  expect(seen).toBe(1100);
});

test("truncation frees chunks and series, their labels vanish, and the same labels can come again", async () => {
  const head = newHead();
  append(head, [up("gone", [START, 1]), up("stays", [START, 1])]);
  append(head, [up("stays", [START + 3 * HOUR, 2])]);
  expect(await head.truncate(START + 2 * HOUR)).toEqual([1]);
  expect(await dump(head)).toEqual([["__name__ up job stays", [[START + 3 * HOUR, 2]]]]);
  const all = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [],
    limit: 0,
    signal: new AbortController().signal,
  };
  expect(await head.labelValues("job", all)).toEqual(["stays"]);
  expect(append(head, [up("gone", [START + 3 * HOUR, 5])]).verdicts).toEqual([Verdict.ACCEPTED]);
  expect(await head.labelValues("job", all)).toEqual(["gone", "stays"]);
  expect(await head.labelNames({ ...all, matchers: [new Matcher("=", "job", "gone")] })).toEqual([
    "__name__",
    "job",
  ]);
  expect(append(head, [up("stays", [START, 5])]).verdicts).toEqual([Verdict.TOO_OLD]);
});

test("a head behaves as a plain model of it, over any order of appends and truncations", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.oneof(
          {
            weight: 8,
            arbitrary: fc.array(
              fc.tuple(fc.nat(30), fc.nat(400), fc.constantFrom(1, 2, -0, Number.NaN, 1e300, 0.1)),
              { maxLength: 12 },
            ),
          },
          { weight: 1, arbitrary: fc.constant("truncate" as const) },
        ),
        { maxLength: 40 },
      ),
      async (steps) => {
        const head = newHead();
        const model = new Map<string, [number, number][]>();
        let clock = START;
        let minValid = Number.NEGATIVE_INFINITY;
        for (const step of steps) {
          if (step === "truncate") {
            minValid = clock - HOUR / 2;
            await head.truncate(minValid);
            for (const [labels, samples] of model) {
              const last = samples.at(-1);
              if (last !== undefined && last[0] < minValid) model.delete(labels);
            }
            continue;
          }
          clock += 60_000;
          const series = step.map(([id, offset, value]) =>
            up(`job-${id}`, [clock + offset, value]),
          );
          append(head, series);
          for (const { labels, samples } of series) {
            const known = model.get(labels.join(" ")) ?? [];
            const sample = samples[0] as [number, number];
            const last = known.at(-1);
            if (last === undefined || sample[0] > last[0]) {
              known.push(sample);
              model.set(labels.join(" "), known);
            }
          }
        }
        // Chunks that end before a truncation are gone; later ones may reach back behind it.
        const got = await dump(head);
        const want = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(got.map(([labels]) => labels)).toEqual(want.map(([labels]) => labels));
        got.forEach(([, samples], i) => {
          const expected = (want[i] as [string, [number, number][]])[1];
          expect(samples).toEqual(expected.slice(expected.length - samples.length));
        });
        head.close();
      },
    ),
    { numRuns: 150 },
  ));
