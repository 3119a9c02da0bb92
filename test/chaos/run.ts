/**
 * A round of chaos by hand:
 *
 *   npx tsx test/chaos/run.ts [--seed=1] [--minutes=3] [--nodes=4] [--writers=3]
 *
 * Prints each fault as it begins and, at the end, the summary; exits with 1 when something acknowledged is missing,
 * something was found that nobody sent, or a writer was told that its data is wrong.
 */

import { parseArgs } from "node:util";
import { round } from "./round.ts";

const { values: flags } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    minutes: { type: "string", default: "3" },
    nodes: { type: "string", default: "4" },
    writers: { type: "string", default: "3" },
  },
});

const start = Date.now();
const print = (line: string) => process.stdout.write(`${line}\n`);
const summary = await round({
  seed: Number(flags.seed),
  seconds: Number(flags.minutes) * 60,
  nodes: Number(flags.nodes),
  writers: Number(flags.writers),
  seriesPerWriter: 50,
  intervalMs: 100,
  log: (line) => print(`${((Date.now() - start) / 1000).toFixed(1)} ${line}`),
});
print(JSON.stringify(summary, null, 2));
const { missing, invented, refusals } = summary;
process.exitCode = missing + invented + refusals.length > 0 ? 1 : 0;
