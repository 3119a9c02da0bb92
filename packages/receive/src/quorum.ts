/**
 * The decision on one request: each series is stored when enough of its copies are, and has failed when too many
 * copies cannot be stored any more. The answer is due as soon as every series is decided; copies that answer later
 * change nothing.
 */

import { CAUSE_PRECEDENCE, CAUSES, Cause, gravest } from "./cause.ts";
import type { SampleCounts } from "./sample-counts.ts";

/** What a quorum stored. */
export type Written = { samples: number; histograms: number; exemplars: number };

/** Copies that must be stored. With two copies one is enough, as in Thanos: a dead node must not stop writes. */
export function writeQuorum(copies: number): number {
  return copies === 2 ? 1 : Math.floor(copies / 2) + 1;
}

export class WriteDecision {
  /** Resolves when every series is decided. */
  readonly decided: Promise<void>;
  readonly #copies: number;
  readonly #quorum: number;
  /** Copies by cause, CAUSES entries a series. */
  readonly #counts: Uint8Array;
  /** The verdict on each series plus one; 0 while it is open. */
  readonly #verdicts: Uint8Array;
  /** The most samples that any owner refused of each series. */
  readonly #refused: Uint32Array;
  readonly #bySeries: number;
  #open: number;
  #resolve: () => void = () => {};

  constructor(series: number, copies: number, quorum: number) {
    this.#copies = copies;
    this.#quorum = quorum;
    this.#bySeries = series;
    this.#counts = new Uint8Array(series * CAUSES);
    this.#verdicts = new Uint8Array(series);
    this.#refused = new Uint32Array(series);
    this.#open = series;
    this.decided = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    if (series === 0) this.#resolve();
  }

  /** One copy of series `index` has come to an end. */
  count(index: number, cause: Cause): void {
    const at = index * CAUSES;
    const counted = (this.#counts[at + cause] as number) + 1;
    this.#counts[at + cause] = counted;
    if (this.#verdicts[index] !== 0) return;
    if (cause === Cause.STORED) {
      if (counted >= this.#quorum) this.#decide(index, Cause.STORED);
      return;
    }
    let failed = 0;
    for (let each = 1; each < CAUSES; each++) failed += this.#counts[at + each] as number;
    if (failed > this.#copies - this.#quorum) this.#decide(index, this.#reason(at));
  }

  /** How many of the series' samples an owner that answered did not store. */
  noteRefused(index: number, samples: number): void {
    this.#refused[index] = Math.max(this.#refused[index] as number, samples);
  }

  /**
   * How many samples a quorum stored, by the numbers that each series has: all of a stored series, and of one that
   * was refused in part, what no owner refused. A series has floats or histograms (remote write 2.0); of one that has
   * both, the floats are taken for the refused ones. Exemplars count where nothing of their series was refused.
   */
  written({ floats, histograms, exemplars }: SampleCounts): Written {
    const written = { samples: 0, histograms: 0, exemplars: 0 };
    for (let i = 0; i < this.#bySeries; i++) {
      const cause = (this.#verdicts[i] as number) - 1;
      const float = floats[i] as number;
      const histogram = histograms?.[i] ?? 0;
      const isPart =
        cause === Cause.CONFLICT || cause === Cause.LIMIT || cause === Cause.BAD_REQUEST;
      if (cause !== Cause.STORED && !isPart) continue;
      const refused = isPart ? (this.#refused[i] as number) : 0;
      if (!isPart) written.exemplars += exemplars?.[i] ?? 0;
      written.samples += Math.max(0, float - refused);
      written.histograms += Math.max(0, histogram - Math.max(0, refused - float));
    }
    return written;
  }

  /** The series is not for any owner: all its copies fail at once. */
  refuse(index: number, cause: Cause): void {
    if (this.#verdicts[index] === 0) this.#decide(index, cause);
  }

  countAll(indexes: Uint32Array, cause: Cause): void {
    for (let i = 0; i < indexes.length; i++) this.count(indexes[i] as number, cause);
  }

  /** Undefined while the series is open. */
  verdict(index: number): Cause | undefined {
    const verdict = this.#verdicts[index] as number;
    return verdict === 0 ? undefined : ((verdict - 1) as Cause);
  }

  /** What the request ends with; for when all is decided. */
  outcome(): { cause: Cause; bySeries: Uint32Array } {
    const bySeries = new Uint32Array(CAUSES);
    for (let i = 0; i < this.#bySeries; i++) {
      const cause = (this.#verdicts[i] as number) - 1;
      bySeries[cause] = (bySeries[cause] as number) + 1;
    }
    const causes = [...bySeries.keys()].filter((each) => (bySeries[each] as number) > 0);
    return { cause: gravest(causes as Cause[]), bySeries };
  }

  /** The cause that a quorum of copies failed with, "unavailable" when none did. */
  #reason(at: number): Cause {
    for (const cause of CAUSE_PRECEDENCE) {
      if ((this.#counts[at + cause] as number) >= this.#quorum) return cause;
    }
    return Cause.UNAVAILABLE;
  }

  #decide(index: number, cause: Cause): void {
    this.#verdicts[index] = cause + 1;
    if (--this.#open === 0) this.#resolve();
  }
}
