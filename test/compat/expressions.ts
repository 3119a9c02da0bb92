/**
 * PromQL from a seed: expressions of the language of Prometheus 2.42, typed as they are made, over the metrics of
 * `sample-data.ts`. What 2.42 answers in another way than 3.x is not made:
 *
 * | not made | why |
 * |---|---|
 * | windows, lookbacks and subqueries with a sample at their left edge | closed there in 2.42, open in 3.x |
 * | rates of counters near zero | the way to zero bounds the extrapolation before its threshold in 2.42, after it in 3.x |
 * | `hour`, `year` … of what is no time | Go's conversion of NaN or 1e300 to an integer differs by processor; NaN here |
 * | `atan2` over series with a name | 2.42 forgets to drop it |
 * | `stddev`, `stdvar` of a group with NaN or Inf | 2.42 gives 0 for a group of one such value, 3.x NaN |
 * | unary minus and subqueries over `or` | 2.42 refuses series that are the same without their names though they share no step |
 * | filtering comparisons with labels to match on | of several matches 2.42 counts those that the comparison keeps |
 * | `predict_linear` with `@` | 2.42 moves the fixed window along with the steps |
 * | `timestamp` of a selector with both `@` and `offset` | 2.42 forgets the offset |
 * | `count_values … by` labels behind the new one | 2.42 loses them |
 * | `%`, `^`, `exp`, `sin`, `cosh` … of computed values, differences and deviations of subqueries | they make a difference in the last digit a large one |
 * | `topk`, `bottomk` of equal values | chosen by the order in storage: they stand over gauges, which are all different |
 * | `sort` inside of others, native histograms, what 2.42 does not know | no order there; another representation |
 */

import type { Random } from "@torus/testkit";

const GAUGES = ["memory_bytes", "temperature_celsius", "queue_length"];
const COUNTERS = ["requests_total", "errors_total"];
const MATCHERS = [
  "",
  "",
  "",
  '{job="api"}',
  '{job!="api"}',
  '{instance=~"i[0-3]"}',
  '{job=~"api|web",instance!~".*4"}',
  '{zone=""}',
  '{zone!=""}',
  '{job="none"}',
];
const RANGES = ["1m", "2m", "5m", "10m"];
const OFFSETS = ["", "", "", "", " offset 1m", " offset 5m", " offset -2m"];
const LABELS = ["job", "instance", "zone"];
const DIFFERENCES = ["stddev_over_time", "stdvar_over_time", "deriv", "delta", "idelta"];
const OVER_TIME = [
  "avg_over_time",
  "min_over_time",
  "max_over_time",
  "sum_over_time",
  "count_over_time",
  "last_over_time",
  "present_over_time",
  "changes",
  "resets",
  "absent_over_time",
];
const OF_COUNTER = ["rate", "increase", "irate"];
const ELEMENTWISE = [
  "abs",
  "ceil",
  "floor",
  "ln",
  "log2",
  "log10",
  "sqrt",
  "sgn",
  "asin",
  "acos",
  "atan",
  "asinh",
  "acosh",
  "atanh",
  "deg",
  "rad",
];
const DATE = [
  "minute",
  "hour",
  "day_of_week",
  "day_of_month",
  "day_of_year",
  "days_in_month",
  "month",
  "year",
];
const AGGREGATIONS = ["sum", "avg", "min", "max", "count", "group"];
const ILL_CONDITIONED = ["sin", "cos", "tan", "sinh", "cosh", "tanh", "exp"];
const ARITHMETIC = ["+", "-", "*", "/"];
const COMPARISON = ["==", "!=", "<", ">", "<=", ">="];

export class Expressions {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  /** An instant vector or a scalar, at most `depth` levels deep. */
  next(depth: number): string {
    const random = this.#random;
    if (random.unit() < 0.08) return `${random.pick(["sort", "sort_desc"])}(${this.vector(depth)})`;
    return random.unit() < 0.9 ? this.vector(depth) : this.scalar(depth);
  }

  vector(depth: number): string {
    const random = this.#random;
    if (depth <= 0) return this.#selector();
    switch (random.between(0, 13)) {
      case 0:
        return this.#selector();
      case 1:
        if (random.unit() < 0.3) return `${random.pick(DIFFERENCES)}(${this.#range(0)})`;
        return `${random.pick(OVER_TIME)}(${this.#range(depth)})`;
      case 2:
        return `${random.pick(OVER_TIME)}(${this.#range(depth)})`;
      case 3:
        return `${random.pick(OF_COUNTER)}(${this.#counterRange(depth)})`;
      case 4:
        return `${random.pick(ELEMENTWISE)}(${this.vector(depth - 1)})`;
      case 5:
      case 6:
        return this.#aggregation(depth);
      case 7:
        return this.#withScalar(depth);
      case 8:
      case 9:
        return this.#binary(depth);
      case 10:
        return this.#labelled(depth);
      case 11:
        return this.#withArguments(depth);
      case 12:
        return this.#signed(this.vector(depth - 1));
      default:
        return this.#fromHistogram();
    }
  }

  scalar(depth: number): string {
    const random = this.#random;
    switch (random.between(0, depth > 0 ? 5 : 2)) {
      case 0:
        return String(random.between(-5, 20));
      case 1:
        return (random.unit() * 100 - 20).toFixed(3);
      case 2:
        return random.pick(["time()", "pi()", "1e3", "0x1f", "NaN", "Inf"]);
      case 3:
        return `scalar(${this.vector(depth - 1)})`;
      case 4: {
        const operator = random.pick([...ARITHMETIC, "atan2"]);
        return `(${this.scalar(depth - 1)} ${operator} ${this.scalar(depth - 1)})`;
      }
      default:
        return `(${this.scalar(depth - 1)} ${random.pick(COMPARISON)} bool ${this.scalar(depth - 1)})`;
    }
  }

  #selector(): string {
    const random = this.#random;
    const metric = random.pick([...GAUGES, ...COUNTERS]);
    return `${metric}${random.pick(MATCHERS)}${this.#modifiers()}`;
  }

  #signed(operand: string): string {
    const sign = this.#random.pick(["-", "+", ""]);
    return `${sign === "-" && operand.includes(" or ") ? "+" : sign}(${operand})`;
  }

  #modifiers(): string {
    const random = this.#random;
    const at = random.unit() < 0.06 ? random.pick([" @ start()", " @ end()"]) : "";
    return `${at}${random.pick(OFFSETS)}`;
  }

  #timestamp(): string {
    return `timestamp(${this.#selector().replace(/ @ (start|end)\(\)/, "")})`;
  }

  #range(depth: number): string {
    const random = this.#random;
    if (depth > 1 && random.unit() < 0.25) {
      const step = random.pick(["", "15s", "30s", "1m"]);
      const of = this.vector(depth - 2);
      const range = `[${random.pick(RANGES)}:${step}]${this.#modifiers()}`;
      if (!of.includes(" or ")) return `(${of})${range}`;
    }
    const metric = random.pick(GAUGES);
    return `${metric}${random.pick(MATCHERS)}[${random.pick(RANGES)}]${this.#modifiers()}`;
  }

  #counterRange(depth: number): string {
    const random = this.#random;
    const metric = random.pick(COUNTERS);
    const selector = `${metric}${random.pick(MATCHERS)}`;
    if (depth > 1 && random.unit() < 0.1) return `${selector}[${random.pick(RANGES)}:30s]`;
    return `${selector}[${random.pick(RANGES)}]${this.#modifiers()}`;
  }

  #grouping(): string {
    const random = this.#random;
    const labels = LABELS.filter(() => random.unit() < 0.5);
    if (random.unit() < 0.3) return "";
    return `${random.pick([" by", " without"])} (${labels.join(", ")}) `;
  }

  #aggregation(depth: number): string {
    const random = this.#random;
    const kind = random.unit();
    if (kind < 0.12) {
      const of = `${random.pick(GAUGES)}${random.pick(MATCHERS)}`;
      return `${random.pick(["topk", "bottomk"])}${this.#grouping()}(${random.between(0, 4)}, ${of})`;
    }
    if (kind < 0.22) {
      const phi = random.pick(["0.5", "0", "1", "0.9", "-1", "2"]);
      return `quantile${this.#grouping()}(${phi}, ${this.vector(depth - 1)})`;
    }
    if (kind < 0.28) {
      return `count_values${this.#grouping()}("zone_value", ${random.pick(["round", "sgn", "floor"])}(${this.#selector()}))`;
    }
    if (kind < 0.36) {
      const of = `${random.pick(OF_COUNTER)}(${this.#counterRange(0)})`;
      return `${random.pick(["stddev", "stdvar"])}${this.#grouping()}(${of})`;
    }
    return `${random.pick(AGGREGATIONS)}${this.#grouping()}(${this.vector(depth - 1)})`;
  }

  #withScalar(depth: number): string {
    const random = this.#random;
    if (random.unit() < 0.1) return `${this.#selector()} % ${random.between(-7, 1000)}`;
    if (random.unit() < 0.1) return `${this.#selector()} ^ ${random.between(-3, 3)}`;
    const [left, right] = [this.vector(depth - 1), this.scalar(depth - 1)];
    const isComparison = random.unit() < 0.4;
    const operator = isComparison
      ? `${random.pick(COMPARISON)}${random.pick(["", " bool"])}`
      : random.pick(ARITHMETIC);
    return random.unit() < 0.5
      ? `(${left}) ${operator} ${right}`
      : `${right} ${operator} (${left})`;
  }

  #binary(depth: number): string {
    const random = this.#random;
    const kind = random.unit();
    const left = `(${this.vector(depth - 1)})`;
    const right = `(${this.vector(depth - 1)})`;
    if (kind < 0.05) return `abs${left} atan2 abs${right}`;
    if (kind < 0.3) {
      const on = random.pick(["", "", " on (job)", " on (job, instance)", " ignoring (zone)"]);
      return `${left} ${random.pick(["and", "or", "unless"])}${on} ${right}`;
    }
    const operator =
      random.unit() < 0.3
        ? `${random.pick(COMPARISON)}${random.pick(["", " bool"])}`
        : random.pick(ARITHMETIC);
    if (kind < 0.7) {
      const matches = ["", "", " ignoring (zone)", " on (job, instance)"];
      const match =
        /^[<>!=]/.test(operator) && !operator.endsWith("bool") ? "" : random.pick(matches);
      return `${left} ${operator}${match} ${right}`;
    }
    const one = `sum by (job) ${right}`;
    if (random.unit() < 0.5) return `${left} ${operator} on (job) group_left () ${one}`;
    return `${one} ${operator} on (job) group_right () ${left}`;
  }

  #labelled(depth: number): string {
    const random = this.#random;
    const of = this.vector(depth - 1);
    if (random.unit() < 0.5) {
      return `label_join(${of}, "joined", "-", "job", "instance")`;
    }
    return `label_replace(${of}, "part", "$1-x", "${random.pick(LABELS)}", "${random.pick(["(.)(.*)", "i(\\\\d)", "(none)", "(?:a|w)(.*)"])}")`;
  }

  #withArguments(depth: number): string {
    const random = this.#random;
    switch (random.between(0, 9)) {
      case 0:
        return `clamp(${this.vector(depth - 1)}, ${random.between(-10, 10)}, ${random.between(11, 1000)})`;
      case 1:
        return `${random.pick(["clamp_min", "clamp_max"])}(${this.vector(depth - 1)}, ${this.scalar(0)})`;
      case 2:
        return `round(${this.vector(depth - 1)}, ${random.pick(["1", "0.5", "10", "0.001"])})`;
      case 3:
        return `predict_linear(${this.#range(0).replace(/ @ (start|end)\(\)/g, "")}, ${random.between(-600, 3600)})`;
      case 4:
        return `quantile_over_time(${random.pick(["0", "0.25", "0.5", "0.99", "1", "1.5", "-0.1"])}, ${this.#range(depth)})`;
      case 5:
        return `vector(${this.scalar(depth - 1)})`;
      case 6:
        return `absent(${this.#selector()})`;
      case 7: {
        const time = random.pick([this.#timestamp(), "vector(time())", ""]);
        return `${random.pick(DATE)}(${time})`;
      }
      case 8:
        return `${random.pick(ILL_CONDITIONED)}(temperature_celsius${random.pick(MATCHERS)})`;
      default:
        return this.#timestamp();
    }
  }

  #fromHistogram(): string {
    const random = this.#random;
    const phi = random.pick(["0.5", "0.9", "0.99", "0.1", "1", "0"]);
    const by = random.pick(["le", "job, le", "instance, le"]);
    return `histogram_quantile(${phi}, sum by (${by}) (rate(latency_seconds_bucket[${random.pick(RANGES)}])))`;
  }
}
