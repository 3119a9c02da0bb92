/** Asks a Prometheus HTTP API and compares two answers, sample by sample. */

export type Sample = [seconds: number, value: string];
export type Series = { metric: Record<string, string>; value?: Sample; values?: Sample[] };
type Envelope = {
  status: string;
  error?: string;
  warnings?: string[];
  data: { resultType: string; result: Series[] };
};

export class QueryFailedError extends Error {}

/** @throws {QueryFailedError} when the answer is an error or carries warnings: a partial answer is no answer here. */
export async function ask(
  base: string,
  path: "query" | "query_range",
  parameters: Record<string, string>,
): Promise<Series[]> {
  const response = await fetch(`${base}/api/v1/${path}`, {
    method: "POST",
    body: new URLSearchParams(parameters),
  });
  const body = (await response.json()) as Envelope;
  if (body.status !== "success" || (body.warnings ?? []).length > 0) {
    const why = body.error ?? (body.warnings ?? []).join("; ");
    throw new QueryFailedError(`${base} ${path} ${JSON.stringify(parameters)}: ${why}`);
  }
  return body.data.result;
}

/** Series by their labels, without those named in `drop`. */
function byLabels(series: readonly Series[], drop: ReadonlySet<string>): Map<string, Sample[]> {
  const out = new Map<string, Sample[]>();
  for (const { metric, value, values } of series) {
    const labels = Object.entries(metric)
      .filter(([name]) => !drop.has(name))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify(labels);
    if (out.has(key)) throw new QueryFailedError(`two series ${key} in one answer`);
    out.set(key, values ?? (value === undefined ? [] : [value]));
  }
  return out;
}

function sameValue(a: string, b: string): boolean {
  if (a === b) return true;
  const x = Number(a);
  const y = Number(b);
  return Math.abs(x - y) <= 1e-9 * Math.max(Math.abs(x), Math.abs(y));
}

/** What differs between two answers, in words; empty when they are the same within 1e-9. */
export function differences(
  expected: readonly Series[],
  got: readonly Series[],
  drop: ReadonlySet<string>,
): string[] {
  const out: string[] = [];
  const want = byLabels(expected, drop);
  const have = byLabels(got, drop);
  for (const [labels, samples] of want) {
    const other = have.get(labels);
    if (other === undefined) {
      out.push(`missing series ${labels}`);
      continue;
    }
    const at = new Map(other.map(([time, value]) => [time, value]));
    for (const [time, value] of samples) {
      const found = at.get(time);
      if (found === undefined) out.push(`${labels} misses ${value} at ${time}`);
      else if (!sameValue(value, found)) out.push(`${labels} at ${time}: ${found}, want ${value}`);
    }
    if (other.length > samples.length)
      out.push(`${labels}: ${other.length} samples, want ${samples.length}`);
  }
  for (const labels of have.keys()) if (!want.has(labels)) out.push(`unexpected series ${labels}`);
  return out;
}
