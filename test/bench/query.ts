/**
 * Queries over 2,000 series x 24 h at 15 s: by our engine straight on a data directory, and through one `receive` and
 * one `query` on loopback, beside Debian's Prometheus and VictoriaMetrics with the same samples.
 *
 *   npx tsx test/bench/query.ts [--series=2000] [--hours=24] [--only=engine,torus,prometheus,victoria,counter]
 *     [--queries=NAME,…] [--seconds=1] [--data=DIR]
 *
 * Each query is asked for about `--seconds`, at least three times, after two times that do not count; the systems take
 * turns query by query. CPU is that of all the system's processes; the figures are means of CPU and medians of wall
 * time. Answers are compared with Prometheus'; times lie beside the samples, so that windows hold the same samples
 * whichever end they are open at. `counter` is the engine alone over one counter of so many series, from blocks.
 * With `--data` the databases stay, and the next run asks them again.
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { counterCpuSeconds } from "./query/counter.ts";
import { differenceOf } from "./query/difference.ts";
import { STEP_MS, writeHistory } from "./query/history.ts";
import { MIX, type MixQuery } from "./query/mix.ts";
import {
  type System,
  startEngine,
  startPrometheus,
  startTorus,
  startVictoria,
} from "./query/systems.ts";

const { values: flags } = parseArgs({
  options: {
    series: { type: "string", default: "2000" },
    hours: { type: "string", default: "24" },
    only: { type: "string", default: "engine,torus,prometheus,victoria,counter" },
    queries: { type: "string", default: "" },
    seconds: { type: "string", default: "1" },
    data: { type: "string", default: "" },
    /** For our processes: --node-flags="--cpu-prof --cpu-prof-dir=/tmp/profiles". */
    "node-flags": { type: "string", default: "" },
  },
});
const MAX_REPEATS = 200;
/** Of the last sample before the queries' end. */
const BESIDE_MS = 7000;
/** A receiver looks once a minute for what is to be cut. */
const SETTLE_MS = 180_000;

const print = (line: string) => process.stdout.write(`${line}\n`);
const installed = (program: string) => spawnSync(program, ["--version"]).error === undefined;
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

type Cost = { cpuMs: number; wallMs: number };

async function cost(system: System, query: MixQuery, endMs: number): Promise<Cost> {
  for (let i = 0; i < 2; i++) await system.ask(query, endMs);
  const walls: number[] = [];
  const began = performance.now();
  const before = system.cpuSeconds();
  while (
    walls.length < 3 ||
    (walls.length < MAX_REPEATS && performance.now() - began < Number(flags.seconds) * 1000)
  ) {
    const start = performance.now();
    await system.ask(query, endMs);
    walls.push(performance.now() - start);
  }
  const cpuMs = ((system.cpuSeconds() - before) * 1000) / walls.length;
  walls.sort((a, b) => a - b);
  return { cpuMs, wallMs: walls[walls.length >> 1] as number };
}

/** Waits until nothing works on what was written: blocks are cut and merged behind the last request. */
async function settle(systems: readonly System[]): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  const used = () => systems.reduce((sum, each) => sum + each.cpuSeconds(), 0);
  let quiet = 0;
  for (let last = used(); quiet < 3 && performance.now() < deadline; ) {
    await wait(1000);
    const now = used();
    const isQuiet = now - last < 0.1 * systems.length;
    quiet = isQuiet && systems.every((each) => each.inBlocks(Number(flags.hours))) ? quiet + 1 : 0;
    last = now;
  }
}

const only = flags.only.split(",");
const dir = flags.data === "" ? mkdtempSync(path.join(tmpdir(), "torus-bench-")) : flags.data;
const written = path.join(dir, "written.json");
const systems: System[] = [];
try {
  mkdirSync(dir, { recursive: true });
  const nodeFlags = flags["node-flags"].split(" ").filter((word) => word !== "");
  if (only.includes("counter")) {
    const seconds = await counterCpuSeconds(dir, Number(flags.series));
    print(
      `sum by (job) (rate(x_total[5m])) over ${flags.series} series x 24 h in steps of 60 s: ${seconds.toFixed(3)} CPU s in the engine`,
    );
  }
  const asksMix = only.some((name) => name !== "counter");
  // The engine reads what a receiver wrote.
  if (asksMix && (only.includes("torus") || !existsSync(written))) {
    systems.push(await startTorus(path.join(dir, "torus"), nodeFlags));
  }
  if (only.includes("prometheus")) {
    if (installed("prometheus")) systems.push(await startPrometheus(path.join(dir, "prometheus")));
    else print("prometheus is not installed");
  }
  if (only.includes("victoria")) {
    if (installed("victoria-metrics")) {
      systems.push(await startVictoria(path.join(dir, "victoria")));
    } else print("victoria-metrics is not installed");
  }
  if (asksMix && !existsSync(written)) {
    // Beside the whole quarter minutes, on which the steps of subqueries lie.
    const lastMs = Math.floor(Date.now() / STEP_MS) * STEP_MS - STEP_MS + 3217;
    const urls = systems.flatMap(({ writeUrl }) => writeUrl ?? []);
    await writeHistory(urls, Number(flags.series), Number(flags.hours), lastMs);
    await settle(systems);
    writeFileSync(written, JSON.stringify({ lastMs }));
  }
  if (asksMix) {
    const { lastMs } = JSON.parse(readFileSync(written, "utf8")) as { lastMs: number };
    if (only.includes("engine")) systems.unshift(startEngine(path.join(dir, "torus")));
    const asked = systems.filter(
      ({ name }) => only.includes("torus") || !name.startsWith("torus, receive"),
    );
    await report(asked, lastMs - STEP_MS + BESIDE_MS);
  }
} finally {
  for (const system of systems) await system.stop();
  if (flags.data === "") rmSync(dir, { recursive: true, force: true });
}

async function report(asked: readonly System[], endMs: number): Promise<void> {
  print(
    `${flags.series} series x ${flags.hours} h at 15 s, ${cpus()[0]?.model}, Node ${process.version}; CPU ms / wall ms`,
  );
  const judge = asked.find(({ name }) => name.startsWith("Prometheus"));
  const ours = asked.filter(({ name }) => name.startsWith("torus"));
  const heads = [
    ...asked.map(({ name }) => name),
    ...ours.map(({ name }) => `Prometheus' CPU / ${name}`),
  ];
  print("");
  print(`| query | ${heads.join(" | ")} | answers |`);
  print(`|---|${heads.map(() => "---|").join("")}---|`);
  const logs = new Map<string, number[]>();
  const wanted =
    flags.queries === "" ? MIX : MIX.filter(({ name }) => flags.queries.split(",").includes(name));
  for (const query of wanted) {
    // First, so that the first answer of each is among those compared.
    const verdict = await compared(query, endMs, ours, judge);
    const costs = new Map<System, Cost>();
    for (const system of asked) costs.set(system, await cost(system, query, endMs));
    const cells = asked.map((system) => {
      const { cpuMs, wallMs } = costs.get(system) as Cost;
      logs.set(system.name, [...(logs.get(system.name) ?? []), Math.log(cpuMs)]);
      return `${cpuMs.toFixed(1)} / ${wallMs.toFixed(1)}`;
    });
    if (judge !== undefined) {
      const theirs = (costs.get(judge) as Cost).cpuMs;
      for (const system of ours)
        cells.push((theirs / (costs.get(system) as Cost).cpuMs).toFixed(2));
    }
    print(`| ${query.name} | ${cells.join(" | ")} | ${verdict} |`);
  }
  const mean = (name: string) => {
    const all = logs.get(name) ?? [];
    return Math.exp(all.reduce((sum, each) => sum + each, 0) / all.length);
  };
  const means = asked.map(({ name }) => mean(name).toFixed(2));
  if (judge !== undefined) {
    for (const { name } of ours) means.push((mean(judge.name) / mean(name)).toFixed(2));
  }
  print(`| **geometric mean of CPU** | ${means.join(" | ")} | |`);
}

async function compared(
  query: MixQuery,
  endMs: number,
  ours: readonly System[],
  judge: System | undefined,
): Promise<string> {
  if (judge === undefined) return "";
  const want = await judge.answer(query, endMs);
  for (const system of ours) {
    const difference = differenceOf(want, await system.answer(query, endMs));
    if (difference !== null) return `${system.name}: ${difference}`;
  }
  return "equal";
}
