/**
 * Loads the kernels: WebAssembly compiled from `assembly/` by `node scripts/build.mjs --kernels`.
 *
 * Each thread has one instance over one memory of its own (`kernel()`); the memory is shared memory, so that
 * other threads can read what lies in it. It grows in place: a view that was made before stays valid.
 */

import { randomFillSync } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export type KernelExports = {
  alloc(size: number): number;
  free(at: number, size: number): void;
  roundedSize(size: number): number;
  arenaBytesInUse(): number;
  arenaBytesFree(): number;
  crc32c(at: number, length: number, seed: number): number;
  xxh64(at: number, length: number): bigint;
  snappyDecodedLength(at: number, length: number): number;
  snappyHeaderLength(): number;
  snappyDecode(from: number, length: number, to: number, size: number): number;
  snappyMaxEncodedLength(length: number): number;
  snappyEncode(from: number, length: number, to: number): number;
  walkRequest(
    from: number,
    end: number,
    tenant: number,
    tenantLength: number,
    table: number,
    detail: number,
    first: number,
    capacity: number,
    head: number,
  ): number;
  xorDecode(at: number, length: number, times: number, values: number, limit: number): number;
  xorEncode(times: number, values: number, count: number, to: number): number;
  xor2Decode(at: number, length: number, times: number, values: number, starts: number): number;
  xor2Encode(times: number, values: number, starts: number, count: number, to: number): number;
  chunksClaimed(at: number, end: number, mint: number, maxt: number, xor2: boolean): number;
  chunksDecode(
    at: number,
    end: number,
    mint: number,
    maxt: number,
    xor2: boolean,
    times: number,
    values: number,
  ): number;
  chunkWrite(
    to: number,
    minTime: number,
    maxTime: number,
    type: number,
    at: number,
    length: number,
  ): number;
  chunksOfSeries(
    series: number,
    newest: number,
    samples: number,
    lastTime: number,
    floor: number,
    mint: number,
    maxt: number,
    after: number,
    to: number,
    end: number,
  ): number;
  seedHash(low: number, high: number): void;
  headNew(chunkRangeMs: number, firstRef: number, seriesLimit: number): number;
  headFree(head: number): void;
  headFind(head: number, labels: number, length: number): number;
  headRestore(head: number, labels: number, length: number, ref: number, list: number): number;
  newListEnd(): number;
  seriesDump(series: number, skipNewest: number, out: number, end: number): number;
  headRestoreDump(
    head: number,
    at: number,
    end: number,
    mint: number,
    list: number,
    listSize: number,
  ): number;
  restoredEnd(): number;
  restoredMinTime(): number;
  restoredMaxTime(): number;
  seriesRecordEnd(): number;
  headNextRef(head: number): number;
  headReserveRefs(head: number, next: number): void;
  headSeriesCount(head: number): number;
  headSetLimit(head: number, limit: number): void;
  firstSampleTime(
    table: number,
    detail: number,
    chosen: number,
    entries: number,
    maxValid: number,
  ): number;
  headPrepare(
    head: number,
    table: number,
    detail: number,
    chosen: number,
    from: number,
    entries: number,
    minValid: number,
    maxValid: number,
    rows: number,
    rowCapacity: number,
    record: number,
    list: number,
    listSize: number,
    seriesRecord: number,
    scratch: number,
    counts: number,
    resume: number,
    lateFrom: number,
    lateRows: number,
    deferred: number,
  ): number;
  preparedLateRows(): number;
  preparedDeferred(): number;
  preparedEntries(): number;
  preparedRecordEnd(): number;
  preparedMinTime(): number;
  preparedMaxTime(): number;
  headCommit(head: number, rows: number, count: number): void;
  headRollback(rows: number, count: number): void;
  headReplaySamples(
    head: number,
    at: number,
    length: number,
    byRef: number,
    known: number,
    mint: number,
    from: number,
    maxStarts: number,
  ): number;
  headReplayStarted(
    head: number,
    at: number,
    length: number,
    byRef: number,
    known: number,
    mint: number,
    from: number,
    maxStarts: number,
  ): number;
  startsInto(at: number): void;
  startsEnd(): number;
  startsOfRows(): number;
  startedRecord(rows: number, count: number, to: number): number;
  replayUnknownRefs(): number;
  replayStoppedAt(): number;
  replayStoppedSeries(): number;
  seriesPushChunk(
    series: number,
    encoding: number,
    samples: number,
    minT: number,
    maxT: number,
    length: number,
  ): number;
  headAppendOne(head: number, series: number, t: number, low: number, high: number): void;
  headUnlink(head: number): void;
  headRemove(head: number, series: number): void;
  headRemovePair(head: number, pair: number): void;
  seriesMarkDead(series: number): void;
  seriesPairs(head: number, series: number, out: number): number;
  seriesTruncate(series: number, mint: number): number;
  seriesCloseChunk(series: number): void;
  sortPass(
    from: number,
    to: number,
    count: number,
    width: number,
    start: number,
    most: number,
  ): number;
  refsNew(): number;
  refsFree(refs: number): void;
  refsCount(refs: number): number;
  refsEntry(refs: number, number: number): number;
  refsSeenSince(refs: number, generation: number): number;
  refsForgetSections(refs: number): void;
  refsFind(
    refs: number,
    table: number,
    detail: number,
    entries: number,
    limit: number,
    generation: number,
    found: number,
  ): number;
  refsFlags(): number;
  refsRows(
    table: number,
    detail: number,
    chosen: number,
    entries: number,
    found: number,
    registered: number,
    to: number,
    order: number,
    rest: number,
  ): number;
  refsRowsEnd(): number;
  refsStartsInto(at: number): void;
  refsStartsEnd(): number;
  refsRest(): number;
  refsBaseTime(): bigint;
  numberedBegin(at: number, baseTime: bigint): void;
  numberedStarts(at: number, end: number): number;
  numberedBind(head: number, detail: number, numbers: number, count: number, series: number): void;
  numberedPrepare(
    series: number,
    known: number,
    end: number,
    count: number,
    minValid: number,
    maxValid: number,
    rows: number,
    rowCapacity: number,
    record: number,
    counts: number,
    verdicts: number,
    lateFrom: number,
    lateRows: number,
  ): number;
  numberedPosition(): number;
  numberedDone(): number;
  numberedRecordEnd(): number;
  numberedLateRows(): number;
  numberedUnknown(): number;
  numberedMinTime(): number;
  numberedMaxTime(): number;
  numberedFailedRows(): number;
  numberPowers(): number;
  writeSamples(times: number, values: number, count: number, to: number): number;
  walkPosition(): number;
  walkErrorAt(): number;
};

/** The linear memory's 4 GiB are used up, or the system gave no more. */
export class KernelMemoryError extends Error {
  readonly bytes: number;
  constructor(bytes: number) {
    super(`allocate ${bytes} bytes of kernel memory: the memory is at its maximum`);
    this.name = "KernelMemoryError";
    this.bytes = bytes;
  }
}

/** Bytes that must be readable and writable behind every range that a kernel copies. */
export const SLACK_BYTES = 64;

const INITIAL_PAGES = 16;
const MAXIMUM_PAGES = 65535;

/** Kernels and their memory. A second instance over the same memory would reset the allocator: others read it as bytes. */
export class Kernel {
  readonly memory: WebAssembly.Memory;
  readonly exports: KernelExports;
  #bytes: Uint8Array;
  #words: Uint32Array;
  #view: DataView;

  constructor(module: WebAssembly.Module, memory: WebAssembly.Memory) {
    this.memory = memory;
    const instance = new WebAssembly.Instance(module, { env: { memory } });
    this.exports = instance.exports as unknown as KernelExports;
    this.#bytes = new Uint8Array(memory.buffer);
    this.#words = new Uint32Array(memory.buffer);
    this.#view = new DataView(memory.buffer);
    const [low, high] = randomFillSync(new Uint32Array(2));
    this.exports.seedHash(low as number, high as number);
  }

  /** The whole memory as it is now; take it again after anything that may allocate. */
  get bytes(): Uint8Array {
    const buffer = this.memory.buffer;
    if (this.#bytes.buffer.byteLength !== buffer.byteLength) this.#bytes = new Uint8Array(buffer);
    return this.#bytes;
  }

  /** The same memory as 32-bit words: address divided by four. */
  get words(): Uint32Array {
    const buffer = this.memory.buffer;
    if (this.#words.buffer.byteLength !== buffer.byteLength) this.#words = new Uint32Array(buffer);
    return this.#words;
  }

  /** The same memory for everything else; WebAssembly is little-endian. */
  get view(): DataView {
    const buffer = this.memory.buffer;
    if (this.#view.buffer.byteLength !== buffer.byteLength) this.#view = new DataView(buffer);
    return this.#view;
  }

  /** @throws {KernelMemoryError} */
  alloc(size: number): number {
    const at = this.exports.alloc(size) >>> 0;
    if (at === 0) throw new KernelMemoryError(size);
    return at;
  }

  free(at: number, size: number): void {
    this.exports.free(at, size);
  }
}

let instance: Kernel | undefined;

function wasmPath(): string {
  // Beside the bundle, or where the build leaves it when running from source.
  const beside = fileURLToPath(new URL("./kernels.wasm", import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL("../dist/kernels.wasm", import.meta.url));
}

function openKernel(): Kernel {
  const module = new WebAssembly.Module(readFileSync(wasmPath()));
  const memory = new WebAssembly.Memory({
    initial: INITIAL_PAGES,
    maximum: MAXIMUM_PAGES,
    shared: true,
  });
  return new Kernel(module, memory);
}

/** This thread's instance. */
export function kernel(): Kernel {
  instance ??= openKernel();
  return instance;
}
