/**
 * What is to happen to the file operations of a process under test: at the n-th of some kinds at some places it dies,
 * or the operation fails. The plan lies in shared memory, so that the storage worker's operations count too.
 *
 *   i32   0 operations that matched   1 the one that is hit, 0 for none   2 kinds, a bit each   3 places, a bit each
 *         4 action   5 errno   6 operations hit   7 phase, set by the program under test   8 length of the trace   9 whether the disk is well
 *   i32   trace from word 16 on: kind, place and phase of each operation, a byte each
 */

import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";

export const KINDS = [
  "open",
  "create",
  "close",
  "read",
  "write",
  "fsync",
  "truncate",
  "rename",
  "unlink",
  "mkdir",
  "rmdir",
] as const;
export type Kind = (typeof KINDS)[number];

/** Parts of a data directory, told by their path. */
export const PLACES = [
  "other",
  "lock",
  "wal",
  "wbl",
  "checkpoint",
  "block chunks",
  "block index",
  "block meta",
  "block tombstones",
  "block directory",
  "deleted block",
  "snapshot",
] as const;
export type Place = (typeof PLACES)[number];

export const ACTIONS = [
  "none",
  "die before",
  "die after",
  "die inside",
  "fail",
  "fail on",
] as const;
/** Dying inside a write leaves half of it; `fail on` fails the operation and all like it from then on. */
export type Action = (typeof ACTIONS)[number];

export type Plan = {
  kinds: readonly Kind[] | "all";
  places: readonly Place[] | "all";
  /** From 1 on. */
  nth: number;
  action: Action;
  code: string;
};

export const ERRNO: Readonly<Record<string, number>> = { EIO: 5, ENOSPC: 28, EMFILE: 24 };

const TRACE_AT = 16;
const TRACE_LENGTH = 1 << 16;
const KEY = "torus-file-plan";

function bits<T extends string>(chosen: readonly T[] | "all", of: readonly T[]): number {
  if (chosen === "all") return -1;
  return chosen.reduce((sum, each) => sum | (1 << of.indexOf(each)), 0);
}

export class PlanMemory {
  readonly #words: Int32Array;

  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** Of this process; its workers find it. */
  static create(): PlanMemory {
    const words = new Int32Array(new SharedArrayBuffer((TRACE_AT + TRACE_LENGTH) * 4));
    setEnvironmentData(KEY, words);
    return new PlanMemory(words);
  }

  /** In a worker of a process that has made one. */
  static ofProcess(): PlanMemory {
    return new PlanMemory(getEnvironmentData(KEY) as Int32Array);
  }

  set(plan: Plan | null): void {
    const words = this.#words;
    words.fill(0, 0, 10);
    if (plan === null) return;
    words[2] = bits(plan.kinds, KINDS);
    words[3] = bits(plan.places, PLACES);
    words[4] = ACTIONS.indexOf(plan.action);
    words[5] = ERRNO[plan.code] ?? 0;
    words[1] = plan.nth;
  }

  /** From here on nothing fails and nothing is counted, until `rearm`. */
  heal(): void {
    this.#words[9] = 1;
  }

  rearm(): void {
    this.#words[9] = 0;
  }

  set phase(phase: number) {
    Atomics.store(this.#words, 7, phase);
  }

  get phase(): number {
    return Atomics.load(this.#words, 7);
  }

  get hits(): number {
    return Atomics.load(this.#words, 6);
  }

  get code(): string {
    const code = Atomics.load(this.#words, 5);
    return Object.keys(ERRNO).find((name) => ERRNO[name] === code) ?? "EIO";
  }

  /** Counts an operation, and says what is to happen to it. */
  next(kind: Kind, place: Place): Action {
    const words = this.#words;
    const k = KINDS.indexOf(kind);
    const p = PLACES.indexOf(place);
    if (words[9] === 1) return "none";
    const at = Atomics.add(words, 8, 1);
    if (at < TRACE_LENGTH) words[TRACE_AT + at] = k | (p << 8) | (this.phase << 16);
    const matches =
      (((words[2] as number) >>> k) & 1) === 1 && (((words[3] as number) >>> p) & 1) === 1;
    if (!matches || words[1] === 0) return "none";
    const n = Atomics.add(words, 0, 1) + 1;
    const action = ACTIONS[words[4] as number] as Action;
    const hit = n === words[1] || (action === "fail on" && n > (words[1] as number));
    if (!hit) return "none";
    Atomics.add(words, 6, 1);
    return action;
  }

  /** The operations so far, in their order. */
  trace(): { kind: Kind; place: Place; phase: number }[] {
    const words = this.#words;
    const length = Math.min(Atomics.load(words, 8), TRACE_LENGTH);
    return Array.from(words.subarray(TRACE_AT, TRACE_AT + length), (word) => ({
      kind: KINDS[word & 0xff] as Kind,
      place: PLACES[(word >>> 8) & 0xff] as Place,
      phase: word >>> 16,
    }));
  }
}
