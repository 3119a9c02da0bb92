/**
 * Label sets by the bytes they came in. The same series come again with every query: their strings are made once, and
 * what is equal is the same array, so that whoever keeps something beside a label set finds it by identity.
 *
 * Two generations bound the memory: when the younger one has used up its half, it becomes the older one, and what is
 * not found again meanwhile is forgotten.
 */

import { randomInt } from "node:crypto";
import type { Labels } from "@torus/model";
import { readLabel } from "./labels.ts";
import { readFields } from "./wire.ts";

type Entry = { bytes: Buffer; labels: Labels };

/** Of an entry beside its bytes, which its strings hold again. */
const ENTRY_BYTES = 400;
/** Bytes that were made to collide are decoded anew each time, not searched for in a long list. */
const MOST_OF_ONE_HASH = 4;

export class LabelTable {
  readonly #maxBytes: number;
  readonly #seed = randomInt(2 ** 32);
  #young = new Map<number, Entry[]>();
  #old = new Map<number, Entry[]>();
  #youngBytes = 0;

  /** @param maxBytes About what both generations take at most. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /**
   * The labels of the Label fields in [from, end), in their order.
   * @throws {MessageMalformedError}
   */
  find(bytes: Uint8Array, from: number, end: number): Labels {
    const hash = this.#hash(bytes, from, end);
    const young = entryIn(this.#young.get(hash), bytes, from, end);
    if (young !== undefined) return young.labels;
    let entry = entryIn(this.#old.get(hash), bytes, from, end);
    if (entry === undefined) {
      const copy = Buffer.from(bytes.subarray(from, end));
      entry = { bytes: copy, labels: decode(copy) };
    }
    this.#add(hash, entry);
    return entry.labels;
  }

  #add(hash: number, entry: Entry): void {
    const list = this.#young.get(hash);
    if (list === undefined) this.#young.set(hash, [entry]);
    else if (list.length < MOST_OF_ONE_HASH) list.push(entry);
    else return;
    this.#youngBytes += 2 * entry.bytes.length + ENTRY_BYTES;
    if (this.#youngBytes < this.#maxBytes / 2) return;
    this.#old = this.#young;
    this.#young = new Map();
    this.#youngBytes = 0;
  }

  /** FNV-1a from a seed of this table's own. */
  #hash(bytes: Uint8Array, from: number, end: number): number {
    let hash = this.#seed | 0;
    for (let i = from; i < end; i++) {
      hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
    }
    return hash;
  }
}

function entryIn(
  list: readonly Entry[] | undefined,
  bytes: Uint8Array,
  from: number,
  end: number,
): Entry | undefined {
  if (list === undefined) return undefined;
  for (const entry of list) {
    if (entry.bytes.length === end - from && entry.bytes.compare(bytes, from, end) === 0) {
      return entry;
    }
  }
  return undefined;
}

function decode(bytes: Uint8Array): Labels {
  const labels: string[] = [];
  readFields("Series", bytes, (number, wire, reader) => {
    if (number !== 1 || wire !== 2) return false;
    readLabel(reader.lengthPrefixed(), labels);
    return true;
  });
  return labels;
}
