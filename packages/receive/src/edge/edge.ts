/**
 * What happens to a request between its decoding and its placement, in this order: the copies of HA pairs are sorted
 * out, labels are rewritten by the relabelling rules, the tenant's limits on labels are held, and series go to the
 * tenant that one of their labels names. Where none of this is configured, requests do not come here.
 */

import { type Labels, labelValue, type Relabel, withoutLabels } from "@torus/model";
import { BodyWriter } from "./body-writer.ts";
import type { HaChoice, HaElector } from "./ha-elector.ts";
import {
  type LabelLimits,
  type LabelSizes,
  labelSizes,
  violatedLabelLimit,
} from "./label-limits.ts";
import { PlanCache } from "./plan-cache.ts";
import { labelBytes, readLabels, type SeriesBytes, scanRequest } from "./series-bytes.ts";

export type EdgeOptions = {
  /** The rules as they are now; null for none. */
  relabel: () => Relabel | null;
  /** Its value becomes the tenant; "" for none. */
  splitTenantLabel: string;
  /** Null where HA pairs are not told apart. */
  ha: { elector: HaElector; clusterLabel: string; replicaLabel: string } | null;
  labelLimits: (tenant: string) => LabelLimits | null;
  maxBytes: number;
};

/** Whether a series comes through, and as what. */
type Plan = {
  /** For series of HA pairs. */
  cluster: string;
  replica: string;
  /** Null when the rules drop it. */
  labels: Labels | null;
  /** The label fields as they go on; null for those that came. */
  bytes: Uint8Array | null;
  /** "" for the request's own. */
  tenant: string;
  sizes: LabelSizes;
};

export type Counted = { series: number; samples: number; histograms: number; exemplars: number };

export type Shaped = {
  parts: { tenant: string; body: Uint8Array }[];
  /** What came. */
  received: Counted;
  /** Dropped because somebody asked for it: by rules, and as copies of an HA pair's other replica by cluster. */
  relabelled: Counted;
  deduplicated: ReadonlyMap<string, Counted>;
  /** Refused, with the limit that it violates. */
  refused: Counted;
  refusals: ReadonlyMap<string, number>;
};

const NO_SIZES: LabelSizes = { count: 0, nameLength: 0, valueLength: 0 };
const CACHE_BYTES = 64 << 20;

export class Edge {
  readonly #options: EdgeOptions;
  readonly #cache = new PlanCache<Plan>(CACHE_BYTES);
  #relabel: Relabel | null;

  constructor(options: EdgeOptions) {
    this.#options = options;
    this.#relabel = options.relabel();
  }

  /** Whether requests of this tenant have to come here. */
  isActive(tenant: string): boolean {
    const { relabel, splitTenantLabel, ha, labelLimits } = this.#options;
    return (
      splitTenantLabel !== "" || ha !== null || relabel() !== null || labelLimits(tenant) !== null
    );
  }

  /**
   * @param check Called with what came, before anything is decided; what it throws ends the request.
   * @throws {WriteRequestMalformedError | BodyTooLargeError | TooManyClustersError}
   */
  async shape(
    body: Uint8Array,
    tenant: string,
    check: (received: Counted) => void,
  ): Promise<Shaped> {
    const source = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
    const entries: SeriesBytes[] = [];
    const whole: [start: number, end: number][] = [];
    const others: [start: number, end: number][] = [];
    const received = nothing();
    scanRequest(source, {
      series: (series) => {
        entries.push(series);
        add(received, series);
      },
      // The walk sorts these out; no rule knows them.
      scattered: (start, end) => whole.push([start, end]),
      other: (start, end) => others.push([start, end]),
    });
    check(received);
    const limits = this.#options.labelLimits(tenant);
    this.#forgetStale();
    const plans = entries.map((series) => this.#plan(source, series));
    const choices = await this.#choices(tenant, plans);
    return this.#assemble({
      source,
      tenant,
      entries,
      plans,
      choices,
      limits,
      received,
      whole,
      others,
    });
  }

  #forgetStale(): void {
    const relabel = this.#options.relabel();
    if (relabel === this.#relabel) return;
    this.#relabel = relabel;
    this.#cache.clear();
  }

  /** Undefined for labels that the walk will refuse. */
  #plan(source: Buffer, series: SeriesBytes): Plan | undefined {
    const { labels: from, labelsEnd: end } = series;
    const key = source.toString("latin1", from, end);
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const labels = readLabels(source, from, end);
    if (labels === null) return undefined;
    const plan = this.#newPlan(labels);
    this.#cache.set(key, plan, (plan.bytes?.length ?? 0) + 64 * labels.length);
    return plan;
  }

  #newPlan(came: Labels): Plan {
    const { ha, splitTenantLabel } = this.#options;
    const plan: Plan = {
      cluster: "",
      replica: "",
      labels: came,
      bytes: null,
      tenant: "",
      sizes: NO_SIZES,
    };
    let labels = came;
    if (ha !== null) {
      const cluster = labelValue(labels, ha.clusterLabel);
      const replica = labelValue(labels, ha.replicaLabel);
      if (cluster !== "" && replica !== "") {
        plan.cluster = cluster;
        plan.replica = replica;
        labels = withoutLabels(labels, new Set([ha.replicaLabel]));
      }
    }
    const relabelled = this.#relabel === null ? labels : this.#relabel(labels);
    // A series without labels is nobody's.
    if (relabelled === null || (relabelled.length === 0 && came.length > 0)) {
      return { ...plan, labels: null };
    }
    labels = relabelled;
    plan.sizes = labelSizes(labels);
    if (splitTenantLabel !== "") {
      plan.tenant = labelValue(labels, splitTenantLabel);
      if (plan.tenant !== "") labels = withoutLabels(labels, new Set([splitTenantLabel]));
    }
    plan.labels = labels;
    if (labels !== came) plan.bytes = labelBytes(labels);
    return plan;
  }

  async #choices(tenant: string, plans: readonly (Plan | undefined)[]): Promise<HaChoice> {
    const { ha } = this.#options;
    const pairs = new Map<string, [cluster: string, replica: string]>();
    for (const plan of plans) {
      if (plan === undefined || plan.cluster === "") continue;
      pairs.set(`${plan.cluster}\0${plan.replica}`, [plan.cluster, plan.replica]);
    }
    if (ha === null || pairs.size === 0) return () => true;
    return ha.elector.choose(tenant, [...pairs.values()]);
  }

  #assemble(work: {
    source: Buffer;
    tenant: string;
    entries: readonly SeriesBytes[];
    plans: readonly (Plan | undefined)[];
    choices: HaChoice;
    limits: LabelLimits | null;
    received: Counted;
    whole: readonly [start: number, end: number][];
    others: readonly [start: number, end: number][];
  }): Shaped {
    const { source, tenant, entries, plans, choices, limits, received, whole, others } = work;
    const writers = new Map<string, BodyWriter>();
    const writerOf = (name: string): BodyWriter => {
      let writer = writers.get(name);
      if (writer === undefined) {
        writer = new BodyWriter(source, this.#options.maxBytes);
        writers.set(name, writer);
      }
      return writer;
    };
    const relabelled = nothing();
    const refused = nothing();
    const deduplicated = new Map<string, Counted>();
    const refusals = new Map<string, number>();
    for (const [i, series] of entries.entries()) {
      const plan = plans[i];
      if (plan === undefined) {
        writerOf(tenant).copy(series.start, series.end);
        continue;
      }
      const { cluster, replica, labels, bytes } = plan;
      const violated = limits === null ? "" : violatedLabelLimit(plan.sizes, limits);
      if (cluster !== "" && !choices(cluster, replica)) {
        const counted = deduplicated.get(cluster) ?? nothing();
        add(counted, series);
        deduplicated.set(cluster, counted);
      } else if (labels === null) add(relabelled, series);
      else if (violated !== "") {
        add(refused, series);
        refusals.set(violated, (refusals.get(violated) ?? 0) + 1);
      } else {
        const writer = writerOf(plan.tenant || tenant);
        if (bytes === null) writer.copy(series.start, series.end);
        else writer.series(series, bytes);
      }
    }
    for (const [start, end] of whole) writerOf(tenant).copy(start, end);
    // Metadata and what else there may be belongs to the one who sent it.
    for (const [start, end] of others) writerOf(tenant).copy(start, end);
    const parts = [...writers].map(([name, writer]) => ({ tenant: name, body: writer.finish() }));
    return { parts, received, relabelled, deduplicated, refused, refusals };
  }
}

export function nothing(): Counted {
  return { series: 0, samples: 0, histograms: 0, exemplars: 0 };
}

function add(to: Counted, { samples, histograms, exemplars }: SeriesBytes): void {
  to.series++;
  to.samples += samples;
  to.histograms += histograms;
  to.exemplars += exemplars;
}
