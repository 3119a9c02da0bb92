/**
 * What a receiver that hangs costs those who write through the others: three `torus receive` at replication factor 3,
 * 60 requests a second of 500 samples to two of them, and in every second phase the third is stopped (SIGSTOP) at the
 * phase's start. Each phase with it stopped is held to the one before, and the median of those ratios is told.
 *
 *     npx tsx test/bench/stopped-peer.ts [--pairs=5] [--seconds=8] [--receive-flags=…]
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { freePorts, startProcess, torusProgram } from "@torus/testkit";
import {
  Bodies,
  closeConnections,
  median,
  quantile,
  sendPaced,
  type Tally,
} from "./load/paced-sender.ts";

const SAMPLES = 500;
const PER_SECOND = 60;
const TARGET = 2;

const { values } = parseArgs({
  options: {
    pairs: { type: "string", default: "5" },
    seconds: { type: "string", default: "8" },
    "receive-flags": { type: "string", default: "" },
  },
});
const durationMs = Number(values.seconds) * 1000;
const print = (line: string) => process.stdout.write(`${line}\n`);

const root = mkdtempSync(path.join(tmpdir(), "torus-bench-stopped-"));
const ports = await freePorts(9);
const address = (i: number) => `127.0.0.1:${ports[i]}`;
const ring = JSON.stringify([{ endpoints: [address(0), address(1), address(2)] }]);
const receivers = await Promise.all(
  [0, 1, 2].map((i) =>
    startProcess({
      name: `receive-${i}`,
      command: process.execPath,
      args: [
        torusProgram(),
        "receive",
        `--grpc-address=${address(i)}`,
        `--http-address=${address(i + 3)}`,
        `--remote-write.address=${address(i + 6)}`,
        `--tsdb.path=${path.join(root, String(i))}`,
        `--label=receive_replica="${i}"`,
        `--receive.local-endpoint=${address(i)}`,
        `--receive.hashrings=${ring}`,
        "--receive.hashrings-algorithm=ketama",
        "--receive.replication-factor=3",
        "--log.level=error",
        ...values["receive-flags"].split(" ").filter((word) => word !== ""),
      ],
      readyUrl: `http://${address(i + 3)}/-/ready`,
    }),
  ),
);
const hung = receivers[2];
const urls = [6, 7].map((i) => `http://${address(i)}/api/v1/receive`);
const bodies = new Bodies(SAMPLES, Date.now() - 1_200_000);
let refused = 0;

async function phase(name: string): Promise<number> {
  const ready = bodies.make((PER_SECOND * durationMs) / 1000 + PER_SECOND).reverse();
  const next = () => ready.pop() ?? (bodies.make(1)[0] as Uint8Array);
  if (name === "stopped") await hung?.kill("SIGSTOP");
  const load = { urls, tenant: "default-tenant", perSecond: PER_SECOND, durationMs };
  const tally: Tally = await sendPaced({ ...load, rhythm: "steady", next });
  if (name === "stopped") await hung?.kill("SIGCONT");
  for (const [status, count] of tally.statuses) refused += status === 204 ? 0 : count;
  const [p50 = 0, p99 = 0, most = 0] = [0.5, 0.99, 1].map((q) => quantile(tally.latenciesMs, q));
  print(`${name}: p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, most ${most.toFixed(2)} ms`);
  return p99;
}

try {
  // Series are made, and code is compiled, before anything counts.
  await phase("warm");
  const p99s = { running: [] as number[], stopped: [] as number[] };
  const ratios: number[] = [];
  for (let pair = 0; pair < Number(values.pairs); pair++) {
    const running = await phase("running");
    const stopped = await phase("stopped");
    p99s.running.push(running);
    p99s.stopped.push(stopped);
    ratios.push(stopped / running);
    // What waited for it is brought to it before the next phase.
    await sleep(6000);
  }
  print("");
  print("| all running, p99 ms | one stopped, p99 ms | median of ratios | target | refused |");
  print("|---|---|---|---|---|");
  print(
    `| ${median(p99s.running).toFixed(1)} | ${median(p99s.stopped).toFixed(1)} | ${median(ratios).toFixed(2)} | ${TARGET} | ${refused} |`,
  );
} finally {
  closeConnections();
  await hung?.kill("SIGCONT");
  for (const receiver of receivers) await receiver.stop();
  rmSync(root, { recursive: true, force: true });
}
