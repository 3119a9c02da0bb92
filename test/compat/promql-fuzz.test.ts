/**
 * Generated expressions over the same samples, answered by our engine and by Debian's Prometheus. A run follows from
 * its seed: TORUS_FUZZ_SEED, and TORUS_FUZZ_COUNT for how many (200).
 */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { SeriesColumns } from "@torus/model";
import { Engine, QueryExecutionError, type QueryResult } from "@torus/promql";
import { freePorts, Random, type RunningProcess, startProcess } from "@torus/testkit";
import { BlockBuilder } from "@torus/tsdb";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Expressions } from "./expressions.ts";
import { SeriesInMemory, STEP_MS, sampleData } from "./sample-data.ts";

const PROMETHEUS = "/usr/bin/prometheus";
const TOLERANCE = 1e-9;
const seed = Number(process.env["TORUS_FUZZ_SEED"] ?? "42");
const count = Number(process.env["TORUS_FUZZ_COUNT"] ?? "200");
/** Data of yesterday, so that it is history to both. */
const DATA_START = Math.floor(Date.now() / 7_200_000) * 7_200_000 - 86_400_000;
/** Off the samples' instants, and off the steps of subqueries. */
const OFF_MS = 7000;

type Answer = { series: Map<string, Map<number, number>> } | { error: string };
type ApiSeries = {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
};
type ApiAnswer = {
  status: string;
  error?: string;
  data: { resultType: string; result: ApiSeries[] | [number, string] };
};
type Question = { expression: string; startMs: number; endMs: number; stepMs: number };

const dir = mkdtempSync(path.join(tmpdir(), "torus-compat-"));
const random = new Random(seed);
const data = sampleData(DATA_START, random);
const engine = new Engine({ timeoutMs: 60_000, now: Date.now });
const storage = new SeriesInMemory(data);
let base = "";
let prometheus: RunningProcess | undefined;

beforeAll(async () => {
  if (!existsSync(PROMETHEUS)) return;
  await writeBlocks(path.join(dir, "data"), data);
  const config = path.join(dir, "prometheus.yml");
  writeFileSync(config, "global: { scrape_interval: 1h }\n");
  const [port = 0] = await freePorts(1);
  base = `http://127.0.0.1:${port}`;
  prometheus = await startProcess({
    name: "prometheus",
    command: PROMETHEUS,
    args: [
      `--config.file=${config}`,
      `--storage.tsdb.path=${path.join(dir, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    readyUrl: `${base}/-/ready`,
  });
}, 60_000);

afterAll(async () => {
  await prometheus?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function writeBlocks(target: string, all: readonly SeriesColumns[]): Promise<void> {
  const builder = new BlockBuilder(7_200_000);
  for (const { labels, timestamps, values } of all) {
    const bits = new BigUint64Array(values.buffer, values.byteOffset, values.length);
    timestamps.forEach((time, i) => builder.add(labels, time, bits[i] as bigint));
  }
  await builder.write(target, Date.now);
}

const key = (pairs: readonly (readonly [string, string])[]) =>
  JSON.stringify([...pairs].sort(([a], [b]) => (a < b ? -1 : 1)));

async function ours({ expression, startMs, endMs, stepMs }: Question): Promise<Answer> {
  let result: QueryResult;
  try {
    result =
      stepMs === 0
        ? await engine.instant(storage, expression, startMs)
        : await engine.range(storage, expression, startMs, endMs, stepMs);
  } catch (error) {
    if (error instanceof QueryExecutionError) return { error: error.message };
    throw error;
  }
  const series = new Map<string, Map<number, number>>();
  if (result.type === "scalar") {
    series.set("[]", new Map([[result.timestampMs, result.value]]));
  } else if (result.type !== "string") {
    for (const { labels, timestamps, values } of result.series) {
      const pairs = labels.flatMap((name, i): [string, string][] =>
        i % 2 === 0 ? [[name, labels[i + 1] ?? ""]] : [],
      );
      const samples = new Map<number, number>();
      timestamps.forEach((time, i) => samples.set(time, values[i] as number));
      series.set(key(pairs), samples);
    }
  }
  return { series };
}

async function theirs({ expression, startMs, endMs, stepMs }: Question): Promise<Answer> {
  const seconds = (ms: number) => (ms / 1000).toFixed(3);
  const form = new URLSearchParams({ query: expression });
  if (stepMs === 0) form.set("time", seconds(startMs));
  else {
    form.set("start", seconds(startMs));
    form.set("end", seconds(endMs));
    form.set("step", seconds(stepMs));
  }
  const url = `${base}/api/v1/${stepMs === 0 ? "query" : "query_range"}`;
  const response = await fetch(url, { method: "POST", body: form });
  const answer = (await response.json()) as ApiAnswer;
  if (answer.status !== "success") return { error: answer.error ?? "" };
  const { resultType, result } = answer.data;
  const value = (text: string) => (text.endsWith("Inf") ? Number(`${text}inity`) : Number(text));
  const series = new Map<string, Map<number, number>>();
  if (resultType === "scalar") {
    const [time, text] = result as [number, string];
    series.set("[]", new Map([[Math.round(time * 1000), value(text)]]));
  } else {
    for (const {
      metric,
      value: one,
      values = one === undefined ? [] : [one],
    } of result as ApiSeries[]) {
      const samples = values.map(([time, text]) => [Math.round(time * 1000), value(text)] as const);
      series.set(key(Object.entries(metric)), new Map(samples));
    }
  }
  return { series };
}

function isSame(a: number, b: number): boolean {
  if (Object.is(a, b) || a === b || (Number.isNaN(a) && Number.isNaN(b))) return true;
  return Math.abs(a - b) <= TOLERANCE * Math.max(Math.abs(a), Math.abs(b));
}

/** The first difference in words; null when there is none. */
function difference(want: Answer, got: Answer): string | null {
  if ("error" in want || "error" in got) {
    const words = (each: Answer) => ("error" in each ? `error ${each.error}` : "an answer");
    return "error" in want && "error" in got ? null : `${words(got)}, want ${words(want)}`;
  }
  for (const [labels, samples] of want.series) {
    const found = got.series.get(labels);
    if (found === undefined) return `no ${labels}`;
    for (const [time, value] of samples) {
      const own = found.get(time);
      if (own === undefined) return `no ${labels} at ${time}, want ${value}`;
      if (!isSame(value, own)) return `${labels} at ${time}: ${own}, want ${value}`;
    }
    if (found.size !== samples.size)
      return `${labels}: ${found.size} samples, want ${samples.size}`;
  }
  for (const labels of got.series.keys()) {
    if (!want.series.has(labels)) return `${labels} too many`;
  }
  return null;
}

test.skipIf(!existsSync(PROMETHEUS))(
  `${count} expressions from seed ${seed} have Prometheus' answers (needs prometheus)`,
  async () => {
    const expressions = new Expressions(random);
    const differences: string[] = [];
    let answered = 0;
    for (let i = 0; i < count; i++) {
      const expression = expressions.next(3);
      const startMs = DATA_START + random.between(20, 180) * STEP_MS + OFF_MS;
      const stepMs = random.unit() < 0.4 ? 0 : random.pick([15_000, 60_000, 300_000]);
      const endMs = startMs + stepMs * random.between(0, 40);
      const question = { expression, startMs, endMs, stepMs };
      const [want, got] = [await theirs(question), await ours(question)];
      if ("series" in want && want.series.size > 0) answered++;
      const found = difference(want, got);
      if (found !== null) differences.push(`${JSON.stringify(question)}: ${found}`);
    }
    expect(differences).toEqual([]);
    // Mostly questions that have an answer: else nothing was compared.
    expect(answered).toBeGreaterThan(count / 2);
  },
  60_000 + count * 200,
);
