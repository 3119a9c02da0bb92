/**
 * What one tenant's flood costs another: tenant B writes 100 requests a second of 200 samples, each to be answered 204;
 * in every second phase tenant A, from a process of its own, sends ten times the samples that its limit allows. One
 * `torus receive` as a process of its own. Each phase beside A is held to the one alone that it follows or precedes,
 * so that both see the same machine, and the median of those ratios is told: steady, and with the requests of both
 * tenants in the same instants.
 *
 *     npx tsx test/bench/tenants.ts [--pairs=6] [--seconds=4] [--node-flags=…]
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { freePorts, startProcess, torusProgram } from "@torus/testkit";
import {
  Bodies,
  closeConnections,
  median,
  quantile,
  type Rhythm,
  sendPaced,
  type Tally,
} from "./load/paced-sender.ts";

const LIMIT_SAMPLES = 20_000;
const A_SAMPLES = 2000;
const A_PER_SECOND = (10 * LIMIT_SAMPLES) / A_SAMPLES;
const B_SAMPLES = 200;
const B_PER_SECOND = 100;
const TARGET = 2;

const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "6" },
    seconds: { type: "string", default: "4" },
    "node-flags": { type: "string", default: "" },
    /** The process that is tenant A: where it writes. */
    flood: { type: "string", default: "" },
  },
});
const durationMs = Number(values.seconds) * 1000;
const pairs = Number(values.pairs);

type Flooded = [status: number, count: number][];

/** Floods for a phase whenever it is told to. */
async function beTenantA(url: string): Promise<void> {
  const bodies = new Bodies(A_SAMPLES, Date.now() - 3_600_000);
  // What the limit lets through in all phases, and each is sent until it is taken.
  const ready = bodies.make(
    ((2 * pairs + 2) * (durationMs / 1000 + 1) * LIMIT_SAMPLES) / A_SAMPLES,
  );
  let taken = 0;
  process.on("message", (rhythm: Rhythm) => {
    const load = { urls: [url], tenant: "a", perSecond: A_PER_SECOND, rhythm, durationMs };
    const next = () => ready[taken % ready.length] as Uint8Array;
    void sendPaced({ ...load, next, onTaken: () => taken++ }).then(({ statuses }) => {
      const flooded: Flooded = [...statuses];
      process.send?.(flooded);
    });
  });
  process.send?.([]);
  await once(process, "disconnect");
  closeConnections();
}

async function measure(): Promise<void> {
  const root = mkdtempSync(path.join(tmpdir(), "torus-bench-tenants-"));
  const [httpPort, grpcPort, writePort] = await freePorts(3);
  const limits = `write: {global: {max_concurrency: 4}, tenants: {a: {rate: {samples_per_second: ${LIMIT_SAMPLES}}}}}`;
  const receiver = await startProcess({
    name: "receive",
    command: process.execPath,
    args: [
      ...values["node-flags"].split(" ").filter((word) => word !== ""),
      torusProgram(),
      "receive",
      `--http-address=127.0.0.1:${httpPort}`,
      `--grpc-address=127.0.0.1:${grpcPort}`,
      `--remote-write.address=127.0.0.1:${writePort}`,
      `--tsdb.path=${root}`,
      '--label=receive_replica="a"',
      `--receive.limits-config=${limits}`,
      "--log.level=error",
    ],
    readyUrl: `http://127.0.0.1:${httpPort}/-/ready`,
  });
  const url = `http://127.0.0.1:${writePort}/api/v1/receive`;
  const tenantA = fork(
    fileURLToPath(import.meta.url),
    [`--flood=${url}`, `--pairs=${pairs}`, `--seconds=${values.seconds}`],
    { execArgv: process.execArgv },
  );
  const fromA = async () => ((await once(tenantA, "message")) as [Flooded])[0];
  try {
    await fromA();
    const bodies = new Bodies(B_SAMPLES, Date.now() - 3_600_000);
    const phase = async (rhythm: Rhythm, beside: boolean): Promise<[Tally, Flooded]> => {
      const ready = bodies.make((B_PER_SECOND * durationMs) / 1000 + B_PER_SECOND);
      const next = () => ready.pop() ?? (bodies.make(1)[0] as Uint8Array);
      const flooded = beside ? fromA() : Promise.resolve<Flooded>([]);
      if (beside) tenantA.send(rhythm);
      const load = { urls: [url], tenant: "b", perSecond: B_PER_SECOND, rhythm, durationMs };
      // Bodies are taken from the end, so that their times go forward.
      ready.reverse();
      const tally = await sendPaced({ ...load, next });
      return [tally, await flooded];
    };
    // Series are made, and code is compiled, before anything counts.
    await phase("steady", true);
    const rows: string[] = [];
    for (const rhythm of ["steady", "bursts"] as const) {
      rows.push(await compare(rhythm, phase));
    }
    print("");
    print(
      "| requests | B alone, p99 ms | beside A, p99 ms | median of ratios | target | B refused |",
    );
    print("|---|---|---|---|---|---|");
    rows.forEach(print);
  } finally {
    tenantA.disconnect();
    closeConnections();
    await receiver.stop();
    rmSync(root, { recursive: true, force: true });
  }
}

type Phase = (rhythm: Rhythm, beside: boolean) => Promise<[Tally, Flooded]>;

/** A row of the table. */
async function compare(rhythm: Rhythm, phase: Phase): Promise<string> {
  const p99s = { alone: [] as number[], beside: [] as number[] };
  const ratios: number[] = [];
  let refused = 0;
  for (let pair = 0; pair < pairs; pair++) {
    const p99: Record<string, number> = {};
    // The order changes from pair to pair, as what comes later may be warmer.
    for (const beside of pair % 2 === 0 ? [false, true] : [true, false]) {
      const [tally, flooded] = await phase(rhythm, beside);
      for (const [status, count] of tally.statuses) refused += status === 204 ? 0 : count;
      const name = beside ? "beside" : "alone";
      p99[name] = quantile(tally.latenciesMs, 0.99);
      p99s[name].push(p99[name]);
      const p50 = quantile(tally.latenciesMs, 0.5).toFixed(2);
      const a = flooded.map(([status, count]) => `${count} x ${status}`).join(", ");
      print(`${rhythm}, B ${name}: p50 ${p50}, p99 ${p99[name].toFixed(2)} ms${a && `; A: ${a}`}`);
    }
    ratios.push((p99["beside"] ?? 0) / (p99["alone"] ?? 0));
  }
  const ms = (values: readonly number[]) => median(values).toFixed(1);
  return `| ${rhythm} | ${ms(p99s.alone)} | ${ms(p99s.beside)} | ${median(ratios).toFixed(2)} | ${TARGET} | ${refused} |`;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

await (values.flood === "" ? measure() : beTenantA(values.flood));
