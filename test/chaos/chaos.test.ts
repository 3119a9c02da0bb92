/** A round of chaos in CI: three minutes, or as long as TORUS_CHAOS_SECONDS says. */

import { expect, test } from "vitest";
import { round } from "./round.ts";

const seconds = Number(process.env["TORUS_CHAOS_SECONDS"] ?? "180");

test(
  "whatever fails, what was acknowledged is found and nothing else is",
  async () => {
    const faults: string[] = [];
    const summary = await round({
      seed: 20_261_123,
      seconds,
      nodes: 4,
      writers: 3,
      seriesPerWriter: 30,
      intervalMs: 200,
      log: (line) => faults.push(line),
    });
    const { missing, invented, refusals } = summary;
    expect({ missing, invented, refusals }, JSON.stringify({ summary, faults }, null, 1)).toEqual({
      missing: 0,
      invented: 0,
      refusals: [],
    });
    expect(summary.acknowledged).toBeGreaterThan(seconds * 100);
  },
  (seconds + 180) * 1000,
);
