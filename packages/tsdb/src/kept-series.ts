/**
 * What is kept of series that were read, so that the next query finds it: label sets, each as one array, and the
 * bounds for whatever else is kept beside them.
 */

import type { Labels } from "@torus/model";

/** Series whose places are kept, over all blocks that share the bound; about 300 bytes each. */
const MAX_KEPT = 500_000;
/** Of indexes; those beyond are left to the garbage collector between uses. */
const MAX_INDEX_BYTES = 256 << 20;

/** What blocks share: equal label sets as one array, which merging compares by identity, and the bound. */
export class KeptSeries {
  /** Two generations: what is not asked for again while the younger one fills is forgotten. */
  #young = new Map<string, Labels>();
  #old = new Map<string, Labels>();
  #kept = 0;
  #indexBytes = 0;

  one(labels: Labels): Labels {
    const key = JSON.stringify(labels);
    let known = this.#young.get(key);
    if (known !== undefined) return known;
    known = this.#old.get(key) ?? labels;
    if (this.#young.size >= MAX_KEPT / 2) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, known);
    return known;
  }

  /** Whether one more series may be kept. */
  admits(): boolean {
    if (this.#kept === MAX_KEPT) return false;
    this.#kept++;
    return true;
  }

  admitsIndex(sizeBytes: number): boolean {
    if (this.#indexBytes + sizeBytes > MAX_INDEX_BYTES) return false;
    this.#indexBytes += sizeBytes;
    return true;
  }

  /** What was admitted is not kept any more. */
  giveBack(series: number, indexBytes: number): void {
    this.#kept -= series;
    this.#indexBytes -= indexBytes;
  }
}

/** Of all databases of this process. */
export const keptSeries = new KeptSeries();
