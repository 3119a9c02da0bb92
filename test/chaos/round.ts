/** One round of chaos: a ring, writers, faults for a while, then everything is healed and compared. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Random } from "@torus/testkit";
import { check, type Findings } from "./check.ts";
import { Nemesis } from "./nemesis.ts";
import { RingOfProcesses } from "./ring-of-processes.ts";
import { ChaosWriter } from "./writer.ts";

export type RoundOptions = {
  seed: number;
  seconds: number;
  nodes: number;
  writers: number;
  seriesPerWriter: number;
  intervalMs: number;
  log: (line: string) => void;
};

export type RoundSummary = Findings & {
  batches: number;
  refusals: string[];
  statuses: Record<string, number>;
  faults: Record<string, number>;
  /** ms until a batch was acknowledged. */
  latencyMs: { p50: number; p99: number; max: number };
};

const REPLICATION_FACTOR = 3;

export async function round(options: RoundOptions): Promise<RoundSummary> {
  const { seed, seconds, nodes, seriesPerWriter, intervalMs, log } = options;
  const dir = mkdtempSync(path.join(tmpdir(), "torus-chaos-"));
  const random = new Random(seed);
  const ring = await RingOfProcesses.start({
    dir,
    nodes,
    replicationFactor: REPLICATION_FACTOR,
    // Blocks are cut all along, so that faults hit cuts, checkpoints and late blocks too.
    blockDuration: "20s",
  });
  try {
    const writers = Array.from(
      { length: options.writers },
      (_, i) => new ChaosWriter(i, seriesPerWriter, new Random(seed + i + 1)),
    );
    const until = Date.now() + seconds * 1000;
    const nemesis = new Nemesis(ring, random, log);
    await Promise.all([
      nemesis.run(until),
      ...writers.map((writer) =>
        writer.run(ring.receivers, intervalMs, AbortSignal.timeout(seconds * 1000)),
      ),
    ]);
    await ring.heal();
    await ring.startQuery();
    const findings = await check(ring.queryUrl, writers);
    const latencies = writers.flatMap(({ latenciesMs }) => latenciesMs).sort((a, b) => a - b);
    const at = (share: number) => Math.round(latencies[Math.floor(latencies.length * share)] ?? 0);
    const statuses: Record<string, number> = {};
    for (const [status, count] of writers.flatMap((writer) => [...writer.statuses])) {
      statuses[status] = (statuses[status] ?? 0) + count;
    }
    return {
      ...findings,
      batches: writers.reduce((sum, { batches }) => sum + batches.length, 0),
      refusals: writers.flatMap(({ refusals }) => refusals),
      statuses,
      faults: Object.fromEntries(nemesis.done),
      latencyMs: { p50: at(0.5), p99: at(0.99), max: Math.round(latencies.at(-1) ?? 0) },
    };
  } finally {
    await ring.close();
    rmSync(dir, { recursive: true, force: true });
  }
}
