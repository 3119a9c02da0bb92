/** Classic histograms: series that differ in `le`, each with the observations up to that bound. */

export type CumulativeBucket = { bound: number; count: number };

/** Counts that differ by less than this, relatively, are equal: scrapes of a bucket set are not atomic. */
const TOLERANCE = 1e-12;

/** Ascending by bound, those of one bound added; null without a bucket that holds everything. */
function ordered(given: readonly CumulativeBucket[]): CumulativeBucket[] | null {
  const sorted = given.toSorted((a, b) => a.bound - b.bound);
  if (sorted.at(-1)?.bound !== Infinity) return null;
  const out: CumulativeBucket[] = [];
  for (const bucket of sorted) {
    const last = out.at(-1);
    if (last !== undefined && last.bound === bucket.bound) last.count += bucket.count;
    else out.push({ ...bucket });
  }
  return out;
}

/** `forced` tells that counts fell as bounds rose, and were raised. */
export function bucketQuantile(
  q: number,
  given: readonly CumulativeBucket[],
): { value: number; forced: boolean } {
  const none = { value: Number.NaN, forced: false };
  if (Number.isNaN(q)) return none;
  if (q < 0) return { value: -Infinity, forced: false };
  if (q > 1) return { value: Infinity, forced: false };
  const buckets = ordered(given);
  if (buckets === null) return none;
  let forced = false;
  let previous = (buckets[0] as CumulativeBucket).count;
  for (const bucket of buckets) {
    if (bucket.count === previous) continue;
    const near =
      Math.abs(bucket.count - previous) / (Math.abs(bucket.count) + Math.abs(previous)) < TOLERANCE;
    if (near) bucket.count = previous;
    else if (bucket.count < previous) {
      bucket.count = previous;
      forced = true;
    } else previous = bucket.count;
  }
  if (buckets.length < 2) return { value: Number.NaN, forced };
  const observations = (buckets.at(-1) as CumulativeBucket).count;
  if (observations === 0 || Number.isNaN(observations)) return { value: Number.NaN, forced };
  let rank = q * observations;
  let b = buckets.slice(0, -1).findIndex((bucket) => bucket.count >= rank);
  if (b < 0) b = buckets.length - 1;
  if (b === buckets.length - 1) {
    return { value: (buckets.at(-2) as CumulativeBucket).bound, forced };
  }
  const bucket = buckets[b] as CumulativeBucket;
  if (b === 0 && bucket.bound <= 0) return { value: bucket.bound, forced };
  let start = 0;
  let count = bucket.count;
  if (b > 0) {
    const before = buckets[b - 1] as CumulativeBucket;
    start = before.bound;
    count -= before.count;
    rank -= before.count;
  }
  return { value: start + (bucket.bound - start) * (rank / count), forced };
}

/** The share of observations in [from, to]. */
export function bucketFraction(
  from: number,
  to: number,
  given: readonly CumulativeBucket[],
): number {
  const buckets = ordered(given);
  const total = buckets?.at(-1)?.count ?? 0;
  if (buckets === null || total === 0 || Number.isNaN(from) || Number.isNaN(to)) return Number.NaN;
  if (from >= to) return 0;
  const rankOf = (value: number): number => {
    let rank = 0;
    let lower = (buckets[0] as CumulativeBucket).bound > 0 ? 0 : -Infinity;
    for (const { bound, count } of buckets) {
      if (lower >= value) return rank;
      if (bound > value) {
        if (lower === -Infinity) return count;
        return bound === Infinity
          ? rank
          : rank + ((count - rank) * (value - lower)) / (bound - lower);
      }
      rank = count;
      lower = bound;
    }
    return total;
  };
  return (Math.min(rankOf(to), total) - Math.min(rankOf(from), total)) / total;
}

export function parseBound(text: string): number | undefined {
  if (/^\+?inf(inity)?$/i.test(text)) return Infinity;
  if (/^-inf(inity)?$/i.test(text)) return -Infinity;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : undefined;
}
