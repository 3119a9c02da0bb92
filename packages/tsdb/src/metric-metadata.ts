/**
 * Type, help and unit of a tenant's metrics, as senders tell them, and how the write-ahead log has them.
 *
 * Senders tell of a metric family; a metadata record (Prometheus, tsdb/docs/format/wal.md, type 6) tells of a series, by
 * its ref. A family is logged for one of its series: that is enough to have it back after a start, and a log with a copy
 * for each series would repeat every help text thousands of times. Where the family's name does not follow from the
 * series' name and the type, a third field beside UNIT and HELP has it; readers pass over fields that they do not know.
 *
 * A family without a series here is only in memory; when it has one, it is logged the next time that it is told (every
 * minute in remote write 1.0, with the samples in 2.0) or that blocks are looked after. Each checkpoint drops all metadata records,
 * and everything is logged anew before: so the log holds each family once, under a series that is still there.
 */

import { type LogRecord, RecordKind } from "./wlog/records.ts";

/** `type` is a word of Prometheus' API, as `counter`. */
export type MetricMetadata = { type: string; help: string; unit: string };
export type NamedMetadata = MetricMetadata & { metric: string };

/** Whether it is in the log, or wherever else the set's owner brings it. */
export type Told = NamedMetadata & { isLogged: boolean };

/** Of a tenant; a metric beyond it is not remembered. */
const MOST_METRICS = 50_000;
/** Of a metric: different jobs may tell different things. */
const MOST_OF_METRIC = 10;
const MOST_TEXT_BYTES = 4096;
const RECORD_ENTRIES = 1024;

const TYPES = [
  "unknown",
  "counter",
  "gauge",
  "histogram",
  "gaugehistogram",
  "summary",
  "info",
  "stateset",
];

/** Ends of the names of a family's series, besides the family's own name. */
const SERIES_ENDS: Readonly<Record<string, readonly string[]>> = {
  counter: ["_total"],
  histogram: ["_bucket", "_count", "_sum"],
  gaugehistogram: ["_bucket", "_gcount", "_gsum"],
  summary: ["_count", "_sum"],
  info: ["_info"],
};
/** Of these a series' name tells the family's; a counter's may or may not be named without its end. */
const COMPOSED = new Set(["histogram", "gaugehistogram", "summary"]);

/** The word for a number that remote write and the log have. */
export function metricType(number: number): string {
  return TYPES[number] ?? "unknown";
}

/** The number for a word; 0, which is "unknown", for any other. */
export function metricTypeNumber(type: string): number {
  return Math.max(TYPES.indexOf(type), 0);
}

/** The family of a series, for the type that is told of it. */
export function familyOf(name: string, type: string): string {
  if (!COMPOSED.has(type)) return name;
  const end = SERIES_ENDS[type]?.find((each) => name.endsWith(each)) ?? "";
  return name.slice(0, name.length - end.length);
}

export class MetricMetadataSet {
  readonly #metrics = new Map<string, Told[]>();

  /**
   * Takes what is told.
   * @param isLogged Whether it comes from the log.
   * @returns Of the entries those that are kept and not logged.
   */
  note(entries: readonly NamedMetadata[], isLogged = false): Told[] {
    const unlogged: Told[] = [];
    for (const { metric, type, help, unit } of entries) {
      if (metric === "" || metric.length + help.length + unit.length > MOST_TEXT_BYTES) continue;
      let known = this.#metrics.get(metric);
      if (known === undefined) {
        if (this.#metrics.size >= MOST_METRICS) continue;
        known = [];
        this.#metrics.set(metric, known);
      }
      let told = known.find(
        (each) => each.type === type && each.help === help && each.unit === unit,
      );
      if (told === undefined) {
        // The newest are kept: a metric's help may change with its program.
        if (known.length >= MOST_OF_METRIC) known.shift();
        told = { metric, type, help, unit, isLogged };
        known.push(told);
      }
      if (!told.isLogged) unlogged.push(told);
    }
    return unlogged;
  }

  of(metric: string): readonly MetricMetadata[] {
    return this.#metrics.get(metric) ?? [];
  }

  entries(): Iterable<[metric: string, told: readonly MetricMetadata[]]> {
    return this.#metrics;
  }

  all(): Told[] {
    return [...this.#metrics.values()].flat();
  }

  unlogged(): Told[] {
    return this.all().filter(({ isLogged }) => !isLogged);
  }

  /** Everything, as not logged. */
  forgetLogged(): Told[] {
    const all = this.all();
    for (const told of all) told.isLogged = false;
    return all;
  }
}

/**
 * The records of what is told of families that have a series.
 * @param refOf A series with this metric name; 0 for none.
 */
export function* metadataRecords(
  all: readonly Told[],
  refOf: (name: string) => number,
): Generator<{ record: LogRecord; told: Told[] }> {
  let told: Told[] = [];
  let metadata: (LogRecord & { type: 6 })["metadata"] = [];
  for (const each of all) {
    const { metric, type, help, unit } = each;
    const names = [metric, ...(SERIES_ENDS[type] ?? []).map((end) => metric + end)];
    const name = names.find((candidate) => refOf(candidate) !== 0);
    if (name === undefined) continue;
    const fields: [string, string][] = [
      ["UNIT", unit],
      ["HELP", help],
    ];
    if (familyOf(name, type) !== metric) fields.push(["FAMILY", metric]);
    metadata.push({ ref: refOf(name), metricType: metricTypeNumber(type), fields });
    told.push(each);
    if (told.length < RECORD_ENTRIES) continue;
    yield { record: { type: RecordKind.METADATA, metadata }, told };
    told = [];
    metadata = [];
  }
  if (told.length > 0) yield { record: { type: RecordKind.METADATA, metadata }, told };
}

/** What a metadata record tells of a series with this metric name. */
export function loggedMetadata(
  name: string,
  metricTypeNumber: number,
  fields: readonly (readonly [name: string, value: string])[],
): NamedMetadata {
  const field = (wanted: string): string | undefined =>
    fields.find(([each]) => each === wanted)?.[1];
  const type = metricType(metricTypeNumber);
  return {
    metric: field("FAMILY") ?? familyOf(name, type),
    type,
    help: field("HELP") ?? "",
    unit: field("UNIT") ?? "",
  };
}
