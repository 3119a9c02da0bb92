/**
 * The storage engine by itself: CPU, memory and bytes, each beside what was asked for, and beside Debian's Prometheus
 * where that does the same work.
 *
 *   npx tsx test/bench/tsdb.ts [--only=append,cut,...] [--series=500000] [--program=dist/torus.mjs]
 *
 * Each section runs in a process of its own. The calibration loop says how fast this machine is at the moment; compare
 * figures of one run, or divide by it.
 */

import { spawnSync } from "node:child_process";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { append } from "./tsdb/append.ts";
import { cut } from "./tsdb/cut.ts";
import { disk } from "./tsdb/disk.ts";
import { encode } from "./tsdb/encode.ts";
import { index, regexp } from "./tsdb/index-and-regexp.ts";
import { tenants } from "./tsdb/many-tenants.ts";
import { memory } from "./tsdb/memory.ts";
import { formatValue, type Row } from "./tsdb/report.ts";

const { values: flags } = parseArgs({
  options: {
    series: { type: "string", default: "500000" },
    only: { type: "string", default: "" },
    /** The bundle that `cut` runs as a receiver: dist/torus.mjs. */
    program: { type: "string", default: "" },
    /** Runs one section here and prints its rows as JSON. */
    child: { type: "string", default: "" },
  },
});
const series = Number(flags.series);
/** With all their requests at once in memory, more would measure something else. */
const MOST_APPENDED = 100_000;

const SECTIONS: Readonly<Record<string, () => Promise<Row[]> | Row[]>> = {
  append: () => append(Math.min(series, MOST_APPENDED)),
  encode,
  index,
  regexp,
  disk,
  tenants,
  memory: () => memory(series),
  cut: () => cut(series, flags.program),
};

const print = (line: string) => process.stdout.write(`${line}\n`);

/** CPU seconds of a fixed loop of integer and floating point work over 8 MiB. */
function calibrate(): number {
  const words = new Uint32Array(1 << 21);
  const before = process.cpuUsage();
  let h = 1;
  for (let pass = 0; pass < 40; pass++) {
    for (let i = 0; i < words.length; i++) {
      h = (Math.imul(h ^ i, 0x9e3779b1) + (words[i] as number)) | 0;
      words[i] = h;
    }
  }
  const { user, system } = process.cpuUsage(before);
  if (h === 0) throw new Error("the loop was not run");
  return (user + system) / 1e6;
}

if (flags.child !== "") {
  const run = SECTIONS[flags.child];
  if (run === undefined) throw new Error(`unknown section ${flags.child}`);
  print(`rows ${JSON.stringify(await run())}`);
} else {
  const names = flags.only === "" ? Object.keys(SECTIONS) : flags.only.split(",");
  for (const name of names) {
    if (SECTIONS[name] === undefined) {
      throw new Error(`unknown section ${name}: ${Object.keys(SECTIONS).join(", ")}`);
    }
  }
  print(`${cpus()[0]?.model}, Node ${process.version}`);
  print(`calibration loop: ${calibrate().toFixed(3)} CPU s`);
  for (const name of names) {
    const args = [...process.execArgv, ...process.argv.slice(1), `--child=${name}`];
    const child = spawnSync(process.execPath, ["--expose-gc", ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      maxBuffer: 16 << 20,
    });
    const line = child.stdout.split("\n").find((one) => one.startsWith("rows "));
    if (child.status !== 0 || line === undefined) {
      throw new Error(`section ${name} ended with ${child.status ?? child.signal}`);
    }
    print("");
    print(`| ${name} | measured | asked for |`);
    print("|---|---|---|");
    for (const [what, value, target] of JSON.parse(line.slice(5)) as Row[]) {
      print(`| ${what} | ${formatValue(value)} | ${target} |`);
    }
  }
}
