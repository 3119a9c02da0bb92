/**
 * The series that pass through this node, numbered by tenant: where the ring puts each, and by which number receivers
 * know it. A tenant's table is given up whole, and begun anew, when most of its series were not seen for a while; what
 * is still on its way keeps the old one until it is answered.
 */

import type { Placement } from "@torus/hashring";
import { entryHash, type FoundSeries, SeriesRefs, type WriteRequestBuffer } from "@torus/kernels";

/** Series of one tenant that are numbered at most; those above travel with their labels. */
const MOST_SERIES = 4 << 20;
const GENERATION_MS = 10 * 60_000;
/** A series that was not seen for so many generations has ended. */
const LIVE_GENERATIONS = 2;
/** A tenant that sent nothing for so many generations. */
const IDLE_GENERATIONS = 6;
/** Below this, ended series are not worth a new table. */
const SMALL_TABLE = 10_000;

/** One tenant's table. */
export class TenantSeries {
  /** Names the table between nodes; never given to another. */
  readonly slot: number;
  readonly refs: SeriesRefs;
  lastGeneration: number;
  #placement: Placement | undefined;
  #holds = 1;

  constructor(slot: number, limit: number, generation: number) {
    this.slot = slot;
    this.refs = new SeriesRefs(limit);
    this.lastGeneration = generation;
  }

  /** Numbers of all entries, new ones included. */
  find(request: WriteRequestBuffer, placement: Placement): FoundSeries {
    if (this.#placement !== placement) this.refs.forgetSections();
    this.#placement = placement;
    return this.refs.find(request, this.lastGeneration);
  }

  /** The section of each entry. Those that were not known are kept in mind. */
  sections(request: WriteRequestBuffer, found: FoundSeries, tenant: Uint8Array): Int32Array {
    const { words, open } = found;
    const sections = new Int32Array(words.length >>> 1);
    for (let i = 0; i < sections.length; i++) sections[i] = words[i * 2 + 1] as number;
    if (open === 0) return sections;
    const placement = this.#placement as Placement;
    for (let i = 0; i < sections.length; i++) {
      if ((sections[i] as number) >= 0) continue;
      const [low, high] = entryHash(request, i, tenant);
      const section = placement.section(low, high);
      sections[i] = section;
      const number = words[i * 2] as number;
      if (number >= 0) this.refs.setSection(number, section);
    }
    return sections;
  }

  /** Keeps the labels in memory until `release`. */
  hold(): void {
    this.#holds++;
  }

  release(): void {
    if (--this.#holds === 0) this.refs.free();
  }
}

export class ForwardedSeries {
  readonly #now: () => number;
  readonly #onRetired: (slot: number) => void;
  readonly #tenants = new Map<string, TenantSeries>();
  #generation: number;
  #slots = 0;

  /** @param onRetired Receivers may forget the table's numbers. */
  constructor(now: () => number, onRetired: (slot: number) => void) {
    this.#now = now;
    this.#onRetired = onRetired;
    this.#generation = Math.floor(now() / GENERATION_MS);
  }

  of(tenant: string): TenantSeries {
    const generation = Math.floor(this.#now() / GENERATION_MS);
    if (generation !== this.#generation) this.#sweep(generation);
    let series = this.#tenants.get(tenant);
    if (series === undefined) {
      series = new TenantSeries(++this.#slots, MOST_SERIES, generation);
      this.#tenants.set(tenant, series);
    }
    series.lastGeneration = generation;
    return series;
  }

  /** Series that are numbered now, of all tenants. */
  get count(): number {
    let sum = 0;
    for (const { refs } of this.#tenants.values()) sum += refs.count;
    return sum;
  }

  close(): void {
    for (const tenant of this.#tenants.keys()) this.#retire(tenant);
  }

  #sweep(generation: number): void {
    this.#generation = generation;
    for (const [tenant, { refs, lastGeneration }] of this.#tenants) {
      const { count } = refs;
      const idle = generation - lastGeneration > IDLE_GENERATIONS;
      const ended =
        count > SMALL_TABLE && refs.seenSince(generation - LIVE_GENERATIONS) < count / 2;
      if (idle || ended) this.#retire(tenant);
    }
  }

  #retire(tenant: string): void {
    const series = this.#tenants.get(tenant);
    if (series === undefined) return;
    this.#tenants.delete(tenant);
    this.#onRetired(series.slot);
    series.release();
  }
}
