/** Compares what a query finds with what writers remember. */

import { type ChaosWriter, valueOf } from "./writer.ts";

/** Time of one query: keeps an answer at some hundred thousand samples. */
const WINDOW_MS = 120_000;
const KEPT_EXAMPLES = 10;

export type Findings = {
  acknowledged: number;
  found: number;
  /** Acknowledged and not found. */
  missing: number;
  /** Found, with a time or a value that nobody sent. */
  invented: number;
  examples: string[];
};

type Matrix = { metric: Record<string, string>; values: [number, string][] }[];

export async function check(queryUrl: string, writers: readonly ChaosWriter[]): Promise<Findings> {
  const findings: Findings = { acknowledged: 0, found: 0, missing: 0, invented: 0, examples: [] };
  for (const writer of writers) await checkWriter(queryUrl, writer, findings);
  return findings;
}

async function checkWriter(
  queryUrl: string,
  writer: ChaosWriter,
  findings: Findings,
): Promise<void> {
  const { batches, index, seriesCount } = writer;
  const note = (text: string) => {
    if (findings.examples.length < KEPT_EXAMPLES) findings.examples.push(text);
  };
  const sent = new Set(batches.map(({ timeMs }) => timeMs));
  const times = Array.from({ length: seriesCount }, () => new Set<number>());
  const first = (batches[0]?.timeMs ?? 0) - 1;
  const last = batches.at(-1)?.timeMs ?? 0;
  for (let from = first; from < last; from += WINDOW_MS) {
    for (const { metric, values } of await samples(queryUrl, index, from, from + WINDOW_MS)) {
      const series = Number(metric["n"]);
      for (const [seconds, value] of values) {
        const timeMs = Math.round(seconds * 1000);
        times[series]?.add(timeMs);
        findings.found++;
        if (!sent.has(timeMs) || Number(value) !== valueOf(index, series, timeMs)) {
          findings.invented++;
          note(`writer ${index} series ${series} at ${timeMs}: ${value} was never sent`);
        }
      }
    }
  }
  for (const { timeMs, acknowledged } of batches) {
    if (!acknowledged) continue;
    findings.acknowledged += seriesCount;
    times.forEach((found, series) => {
      if (found.has(timeMs)) return;
      findings.missing++;
      note(`writer ${index} series ${series} at ${timeMs}: acknowledged and not found`);
    });
  }
}

/** Samples of a writer in the window that is open on the left. */
async function samples(
  queryUrl: string,
  writer: number,
  fromMs: number,
  toMs: number,
): Promise<Matrix> {
  const form = new URLSearchParams({
    query: `chaos{writer="${writer}"}[${toMs - fromMs}ms]`,
    time: (toMs / 1000).toFixed(3),
    partial_response: "false",
  });
  const answer = await fetch(`${queryUrl}/api/v1/query`, { method: "POST", body: form });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`query answered ${answer.status}: ${text.slice(0, 500)}`);
  const { data, warnings } = JSON.parse(text) as { data: { result: Matrix }; warnings?: string[] };
  if (warnings !== undefined) throw new Error(`query warned: ${warnings.join("; ")}`);
  return data.result;
}
