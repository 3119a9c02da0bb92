/** `torus query` as a process over an endpoint in this one: queries that want too much, and the others meanwhile. */

import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serveSynthetic } from "./synthetic-store.ts";

const START = 1_700_000_000_000;
const MAIN = path.join(import.meta.dirname, "../../cli/src/main.ts");
const MIB = 1024 * 1024;
const MAX_BYTES = 64 * MIB;
const CONCURRENT = 2;

let store: { address: string; stop: () => Promise<void> };
let child: ChildProcess;
let log = "";
let base = "";

beforeAll(async () => {
  store = await serveSynthetic([
    { name: "few", count: 50, samples: 120, startMs: START, stepMs: 15_000 },
    { name: "million", count: 1_000_000, samples: 2, startMs: START, stepMs: 15_000 },
  ]);
  const flags = [
    `--endpoint=${store.address}`,
    "--http-address=127.0.0.1:0",
    "--grpc-address=127.0.0.1:0",
    `--query.max-concurrent=${CONCURRENT}`,
    "--query.max-samples=500000",
    `--query.max-bytes=${MAX_BYTES}B`,
    "--query.timeout=1m",
  ];
  child = spawn(process.execPath, ["--import", "tsx", MAIN, "query", ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr?.on("data", (text: Buffer) => (log += text.toString()));
  while (!log.includes("msg=ready")) {
    if (child.exitCode !== null) throw new Error(log);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  base = `http://${/address=(\S+) protocol=http/.exec(log)?.[1]}`;
}, 60_000);
afterAll(async () => {
  child.kill("SIGKILL");
  await store.stop();
});

type Answer = { status: number; body: string };

async function ask(
  name: string,
  parameters: Record<string, string>,
  signal?: AbortSignal,
): Promise<Answer> {
  const response = await fetch(`${base}/api/v1/${name}`, {
    method: "POST",
    body: new URLSearchParams(parameters),
    ...(signal === undefined ? {} : { signal }),
  });
  return { status: response.status, body: await response.text() };
}

const instant = (query: string, more: Record<string, string> = {}) =>
  ask("query", { query, time: String(START / 1000 + 20), ...more });

/** Steps through so many windows that it takes minutes. */
const ENDLESS = {
  query: "sum(quantile_over_time(0.5, vector(1)[12h:1s]))",
  start: String(START / 1000),
  end: String(START / 1000 + 10_000),
  step: "1",
};

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${base}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1]);
}

async function until(name: string, value: number): Promise<void> {
  while ((await metric(name)) !== value) {
    if (child.exitCode !== null) throw new Error(log);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const running = (count: number) => until("thanos_query_concurrent_gate_queries_in_flight", count);

/** The next query is answered normally, and so are the probes. */
async function expectWell(): Promise<void> {
  expect(await instant("count(few)")).toEqual({
    status: 200,
    body: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[${START / 1000 + 20},"50"]}]}}`,
  });
  for (const probe of ["healthy", "ready"]) {
    expect((await fetch(`${base}/-/${probe}`)).status).toBe(200);
  }
}

test("a query that computes for minutes delays neither others nor the probes, and ends when its client leaves", async () => {
  const client = new AbortController();
  const left = ask("query_range", ENDLESS, client.signal).catch((error: unknown) => error);
  await running(1);
  await expectWell();
  expect(await metric("thanos_query_concurrent_gate_queries_in_flight")).toBe(1);
  client.abort();
  expect(await left).toBeInstanceOf(Error);
  await running(0);
  await expectWell();
});

test("a query ends at its timeout, also where nothing in it looks at the clock", async () => {
  const { status, body } = await ask("query_range", { ...ENDLESS, timeout: "200ms" });
  expect([status, body]).toEqual([
    503,
    '{"status":"error","errorType":"timeout","error":"query timed out in expression evaluation"}',
  ]);
  await expectWell();
});

test("queries beyond those that may run wait, and beyond the queue's bound they are refused", async () => {
  const client = new AbortController();
  const heavy = Array.from({ length: CONCURRENT }, () =>
    ask("query_range", ENDLESS, client.signal).catch(() => undefined),
  );
  await running(CONCURRENT);
  const waiting = Array.from({ length: 25 * CONCURRENT }, () => instant("1"));
  await until("torus_query_waiting", 25 * CONCURRENT);
  expect(await instant("1")).toEqual({
    status: 503,
    body: '{"status":"error","errorType":"unavailable","error":"too many queries: 2 run and 50 wait (--query.max-concurrent)"}',
  });
  expect((await fetch(`${base}/-/ready`)).status).toBe(200);
  client.abort();
  await Promise.all(heavy);
  expect((await Promise.all(waiting)).map(({ status }) => status)).toEqual(waiting.map(() => 200));
});

test.each<[what: string, query: string, error: RegExp]>([
  [
    "more series than it has bytes for",
    "million",
    /would hold \d+ bytes in memory, more than the 67108864 that a query may hold \(--query\.max-bytes\)/,
  ],
  [
    "more samples than it may hold",
    "count_over_time(vector(1)[900000s:1s])",
    /query processing would load too many samples into memory in query execution/,
  ],
])("a query that wants %s ends with an error", async (_, query, error) => {
  const { status, body } = await instant(query);
  expect(JSON.parse(body)).toEqual({
    status: "error",
    errorType: "execution",
    error: expect.stringMatching(error) as string,
  });
  expect(status).toBe(422);
  await expectWell();
});

const range = (query: string, seconds: number, step: string) => ({
  query,
  start: String(START / 1000),
  end: String(START / 1000 + seconds),
  step,
});

const TOO_LARGE = /more than the 67108864 that a query may hold|too many samples/;

/** Each with what may come of it: an error of this text, or null for an answer. */
const HOSTILE: [
  what: string,
  path: string,
  parameters: Record<string, string>,
  error: RegExp | null,
][] = [
  [
    "10,000 nested parentheses",
    "query",
    { query: `${"(".repeat(10_000)}1${")".repeat(10_000)}` },
    /parse error/,
  ],
  ["10,000 unclosed parentheses", "query", { query: "(".repeat(10_000) }, /parse error/],
  ["100,000 signs", "query", { query: `${"-".repeat(100_000)}1` }, /parse error/],
  ["10,000 nested calls", "query", { query: `${"abs(".repeat(10_000)}few` }, /parse error/],
  ["a sum of 100,000 terms", "query", { query: `1${"+1".repeat(100_000)}` }, /parse error/],
  [
    "10,000 parentheses to be formatted",
    "format_query",
    { query: "(".repeat(10_000) },
    /parse err/,
  ],
  ["10,000 parentheses to be parsed", "parse_query", { query: "(".repeat(10_000) }, /parse error/],
  ["nine megabytes of parentheses", "query", { query: "(".repeat(3_000_000) }, /parse error/],
  [
    "a regular expression that backtracks for ever elsewhere",
    "query",
    {
      query: `label_replace(vector(1), "a", "${"x".repeat(5000)}", "", "") and on(a) label_replace(label_replace(vector(1), "a", "${"x".repeat(5000)}", "", ""), "b", "$1", "a", "(x+x+)+y")`,
    },
    null,
  ],
  ["a matcher of that kind", "query", { query: 'few{i=~"(0+0+)+x"}' }, null],
  [
    "a regular expression that repeats what repeats",
    "query",
    { query: 'few{i=~"((((x{100}){100}){100}){100})"}' },
    /invalid|too large|expression/,
  ],
  [
    "a series lookup with such a regular expression",
    "series",
    { "match[]": '{i=~"((x{1000}){1000}){1000}"}' },
    /invalid|too large|expression/,
  ],
  [
    "a subquery of a year by milliseconds",
    "query",
    { query: "count_over_time(vector(1)[1y:1ms])" },
    TOO_LARGE,
  ],
  [
    "subqueries in subqueries",
    "query",
    { query: "sum_over_time(sum_over_time(vector(1)[10d:1s])[10d:1s])", timeout: "2s" },
    /timed out|too many samples|may hold/,
  ],
  [
    "a range of ten thousand years",
    "query",
    { query: "count(rate(few[10000y]))" },
    /parse error|out of range|duration/,
  ],
  ["a range of two centuries", "query", { query: "count(rate(few[200y]))" }, null],
  ["an offset of two centuries", "query", { query: "few offset 200y" }, null],
  [
    "more points than there may be",
    "query_range",
    range("few", 1_000_000_000, "1"),
    /exceeded maximum resolution of 11,000 points/,
  ],
  ["a million series by 11,000 steps", "query_range", range("million", 11_000, "1"), TOO_LARGE],
  [
    "a product of a million series",
    "query",
    { query: "million * on() group_left() sum(million)" },
    TOO_LARGE,
  ],
  ["a million groups", "query", { query: "count by (i) (million)" }, TOO_LARGE],
  ["the largest of a million", "query", { query: "topk(1e9, million)" }, TOO_LARGE],
  ["a sort of a million by label", "query", { query: "sort(million)" }, TOO_LARGE],
  ["a lookup of a million series", "series", { "match[]": "million" }, /may hold/],
  [
    "the statistics of a million series",
    "status/tsdb",
    { start: String(START / 1000), end: String(START / 1000 + 60) },
    /may hold/,
  ],
];

test.each(HOSTILE)(
  "%s: an answer or a clear error, the next query and the probes are well",
  async (_, path, parameters, error) => {
    const { status, body } = await (path === "status/tsdb"
      ? fetch(`${base}/api/v1/${path}?${new URLSearchParams(parameters).toString()}`).then(
          async (answer) => ({
            status: answer.status,
            body: await answer.text(),
          }),
        )
      : ask(path, { time: String(START / 1000 + 20), ...parameters }));
    const parsed = JSON.parse(body) as { status: string; error?: string };
    expect([parsed.status, parsed.error?.slice(0, 2000)]).toEqual(
      error === null ? ["success", undefined] : ["error", expect.stringMatching(error) as string],
    );
    expect(error === null ? [200] : [400, 422, 503]).toContain(status);
    await expectWell();
  },
);

test("a body larger than may be is refused", async () => {
  const { status, body } = await ask("query", { query: "1+".repeat(6_000_000) });
  expect(status).toBe(400);
  expect(body).toContain("error parsing form values");
  await expectWell();
});

test("ten thousand selectors are looked up one after another, until the time is over", async () => {
  const selectors = new URLSearchParams();
  for (let i = 0; i < 10_000; i++) selectors.append("match[]", "few");
  selectors.set("timeout", "500ms");
  const response = await fetch(`${base}/api/v1/labels`, { method: "POST", body: selectors });
  expect([200, 503]).toContain(response.status);
  await expectWell();
});

test("queries that want too much do not make the process larger than its bounds", async () => {
  const answers = await Promise.all([1, 2, 3, 4].map(() => instant("sort(million)")));
  expect(answers.map(({ status }) => status)).toEqual([422, 422, 422, 422]);
  const high = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1];
  // Each would hold about 1 GiB. A thread's heap ends at 256 MiB above its query's bytes; two run at a time.
  expect(Number(high) * 1024).toBeLessThan(400 * MIB + 2 * (256 * MIB + MAX_BYTES));
});
