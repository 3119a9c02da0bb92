/** Kahan-Neumaier sums as Prometheus adds them: the compensation is dropped when the sum becomes infinite. */

export class KahanSum {
  sum = 0;
  compensation = 0;

  add(value: number): void {
    const next = this.sum + value;
    if (next === Infinity || next === -Infinity) this.compensation = 0;
    else if (Math.abs(this.sum) >= Math.abs(value)) this.compensation += this.sum - next + value;
    else this.compensation += value - next + this.sum;
    this.sum = next;
  }

  get total(): number {
    return this.sum + this.compensation;
  }
}

/** The compensation after adding `value` to `sum`, giving `next`. */
export function compensate(sum: number, value: number, next: number, compensation: number): number {
  if (next === Infinity || next === -Infinity) return 0;
  return Math.abs(sum) >= Math.abs(value)
    ? compensation + (sum - next + value)
    : compensation + (value - next + sum);
}

/** The mean of values[from..to), kept finite by the incremental form once the sum overflows. */
export function mean(values: Float64Array, from: number, to: number): number {
  let sum = values[from] as number;
  let c = 0;
  for (let i = from + 1; i < to; i++) {
    const value = values[i] as number;
    const next = sum + value;
    if (Math.abs(sum) >= Math.abs(value)) c += sum - next + value;
    else c += value - next + sum;
    sum = next;
  }
  const n = to - from;
  // Once a sum is infinite or no number it stays so.
  return Number.isFinite(sum) ? sum / n + c / n : meanBeyond(values, from, to);
}

function meanBeyond(values: Float64Array, from: number, to: number): number {
  let sum = values[from] as number;
  let c = 0;
  for (let i = from + 1; i < to; i++) {
    const value = values[i] as number;
    const next = sum + value;
    c = compensate(sum, value, next, c);
    if (
      (next === Infinity || next === -Infinity) &&
      Number.isFinite(sum) &&
      Number.isFinite(value)
    ) {
      return incrementalMean(values, from, to);
    }
    sum = next;
  }
  const n = to - from;
  return sum / n + c / n;
}

function incrementalMean(values: Float64Array, from: number, to: number): number {
  let avg = values[from] as number;
  let c = 0;
  for (let i = from + 1; i < to; i++) {
    const n = i - from + 1;
    const value = values[i] as number;
    const kept = (n - 1) / n;
    c *= kept;
    const sum = kept * avg;
    const next = sum + value / n;
    c = compensate(sum, value / n, next, c);
    avg = next;
  }
  return avg + c;
}

/** The population variance of values[from..to), by Welford's recurrence with compensation. */
export function variance(values: Float64Array, from: number, to: number): number {
  let avg = 0;
  let avgC = 0;
  let aux = 0;
  let auxC = 0;
  for (let i = from; i < to; i++) {
    const value = values[i] as number;
    const delta = value - (avg + avgC);
    const step = delta / (i - from + 1);
    const nextAvg = avg + step;
    avgC = compensate(avg, step, nextAvg, avgC);
    avg = nextAvg;
    const add = delta * (value - (avg + avgC));
    const nextAux = aux + add;
    auxC = compensate(aux, add, nextAux, auxC);
    aux = nextAux;
  }
  return (aux + auxC) / (to - from);
}

/** Prometheus' quantile of a sample; `sorted` ascending with NaN first. */
export function quantileOf(q: number, sorted: Float64Array): number {
  const n = sorted.length;
  if (n === 0 || Number.isNaN(q)) return Number.NaN;
  if (q < 0) return -Infinity;
  if (q > 1) return Infinity;
  const rank = q * (n - 1);
  const lower = Math.max(0, Math.floor(rank));
  const upper = Math.min(n - 1, lower + 1);
  const weight = rank - Math.floor(rank);
  return (sorted[lower] as number) * (1 - weight) + (sorted[upper] as number) * weight;
}

/** Ascending with NaN last, as the built-in sort, which costs more than this for few values. */
function insertionSort(values: Float64Array): void {
  for (let i = 1; i < values.length; i++) {
    const value = values[i] as number;
    if (Number.isNaN(value)) continue;
    let at = i;
    while (at > 0 && !((values[at - 1] as number) <= value)) {
      values[at] = values[at - 1] as number;
      at--;
    }
    values[at] = value;
  }
}

/** Ascending, NaN first. */
export function sortedNanFirst(values: Float64Array): Float64Array {
  const copy = values.slice();
  if (copy.length > 32) copy.sort();
  else insertionSort(copy);
  let nans = 0;
  for (let i = copy.length - 1; i >= 0 && Number.isNaN(copy[i]); i--) nans++;
  if (nans === 0) return copy;
  copy.copyWithin(nans, 0, copy.length - nans);
  copy.fill(Number.NaN, 0, nans);
  return copy;
}
