/**
 * Everything that can be checked of a block or data directory without knowing what was written to it: checksums,
 * offsets, order, counts, and what two parts of it say about the same thing.
 */

import { existsSync } from "node:fs";
import path from "node:path";
import {
  type Chunk,
  ChunkEncoding,
  compareLabels,
  compareStrings,
  type Labels,
} from "@torus/model";
import { BlockReader } from "../block/block-reader.ts";
import { ChunkSegmentReader } from "../block/chunk-segments.ts";
import type { IndexReader } from "../block/index-reader.ts";
import type { IndexedChunk } from "../block/index-writer.ts";
import { readTombstones } from "../block/tombstones.ts";
import { readChunkSnapshot } from "../chunk-snapshot.ts";
import { decodeSamples, holdsFloats } from "../chunkenc/chunk-samples.ts";
import {
  blockDirectories,
  holdsData,
  isBlockDirectory,
  NoDataDirectoryError,
  undisturbed,
} from "../data-dir/data-directory.ts";
import { OfflineHead } from "../data-dir/offline-head.ts";
import { headSnapshots } from "../db-snapshot.ts";

export type Finding = {
  /** A warning is what may be so, as blocks that overlap. */
  severity: "error" | "warning";
  where: string;
  what: string;
};

/** What was looked at, so that "nothing found" says something. */
export type VerifyCounts = { blocks: number; series: number; chunks: number; samples: number };

/** A damaged block may have as many errors as chunks; that many are told. */
const MAX_FINDINGS = 1000;

export class Verifier {
  readonly findings: Finding[] = [];
  readonly counts: VerifyCounts = { blocks: 0, series: 0, chunks: 0, samples: 0 };
  /** Findings beyond those that are kept. */
  notTold = 0;

  #report(severity: Finding["severity"], where: string, what: string): void {
    if (this.findings.length >= MAX_FINDINGS) this.notTold++;
    else this.findings.push({ severity, where, what });
  }

  /** Runs a check whose errors are findings; undefined when it threw. */
  #trying<T>(where: string, check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      this.#report("error", where, error instanceof Error ? error.message : String(error));
      return undefined;
    }
  }

  /** @throws {NoDataDirectoryError} */
  directory(dir: string): void {
    if (!holdsData(dir)) throw new NoDataDirectoryError(dir, "no block and no data directory");
    if (isBlockDirectory(dir)) {
      this.#block(dir);
      return;
    }
    const blocks = blockDirectories(dir)
      .map((block) => this.#block(block))
      .filter((block) => block !== undefined)
      .sort((a, b) => a.minTime - b.minTime);
    let furthest: BlockReader | undefined;
    for (const block of blocks) {
      if (furthest !== undefined && block.minTime <= furthest.maxTime) {
        const { ulid } = furthest.meta;
        this.#report(
          "warning",
          block.dir,
          `overlaps block ${ulid}, which ends at ${furthest.meta.maxTime}`,
        );
      }
      if (furthest === undefined || block.maxTime > furthest.maxTime) furthest = block;
    }
    this.#head(dir);
  }

  #head(dir: string): void {
    const head = this.#trying(dir, () =>
      undisturbed(dir, () => new OfflineHead(dir, Number.NEGATIVE_INFINITY)),
    );
    for (const finding of head?.findings ?? []) {
      const { reason, offset } = finding;
      if (finding.kind === "chunks") this.#report("error", finding.file, `at ${offset}: ${reason}`);
      else if (finding.kind === "record") {
        this.#report("error", finding.dir, `segment ${finding.segment} at ${offset}: ${reason}`);
      } else {
        // What a killed process leaves; its next start cuts it off.
        const severity = finding.torn ? "warning" : "error";
        this.#report(severity, finding.dir, `segment ${finding.segment} at ${offset}: ${reason}`);
      }
    }
    const snapshot = this.#trying(dir, () => readChunkSnapshot(dir));
    for (const { labels, chunk } of snapshot?.series ?? []) {
      if (chunk !== null) this.#chunk(`${snapshot?.dir}: series ${JSON.stringify(labels)}`, chunk);
    }
    if (snapshot?.damage) {
      const { segment, offset, reason } = snapshot.damage;
      this.#report("error", snapshot.dir, `segment ${segment} at ${offset}: ${reason}`);
    }
    for (const { dir: own, damage } of headSnapshots(dir)) {
      if (damage === null) continue;
      // A start that finds it so reads the log instead.
      const { segment, offset, reason } = damage;
      this.#report("warning", own, `part ${segment} at ${offset}: ${reason}`);
    }
    for (const [type, count] of head?.unknownTypes ?? []) {
      this.#report("warning", dir, `${count} log records of unknown type ${type}`);
    }
    if (head !== undefined && head.orphans > 0) {
      this.#report(
        "warning",
        dir,
        `${head.orphans} samples in the log are of series that it does not have`,
      );
    }
    for (const series of head?.series ?? []) {
      this.#trying(`${dir}: series ${JSON.stringify(series.labels)}`, () => {
        for (const run of series.runs()) this.counts.samples += run.times.length;
      });
      this.counts.series++;
    }
  }

  #block(dir: string): BlockReader | undefined {
    this.counts.blocks++;
    const block = this.#trying(dir, () => new BlockReader(dir));
    if (block === undefined) return undefined;
    if (block.meta.ulid !== path.basename(dir)) {
      this.#report("error", dir, `meta.json is of block ${block.meta.ulid}`);
    }
    if (block.meta.minTime >= block.meta.maxTime)
      this.#report("error", dir, "the time range is empty");
    const index = this.#trying(path.join(dir, "index"), () => block.index());
    if (index !== undefined) this.#index(block, index);
    return block;
  }

  #index(block: BlockReader, index: IndexReader): void {
    const where = path.join(block.dir, "index");
    for (let i = 1; i < index.symbols.length; i++) {
      if (compareStrings(index.symbols[i - 1] as string, index.symbols[i] as string) >= 0) {
        this.#report("error", where, `symbol ${i} does not come after symbol ${i - 1}`);
      }
    }
    const ids = this.#trying(where, () => index.all());
    if (ids === undefined) return;
    const files = new ChunkSegmentReader(path.join(block.dir, "chunks"));
    const counts = { numSeries: 0, numChunks: 0, numSamples: 0, floats: 0 };
    const pairs = new Map<string, number>();
    let before: Labels | null = null;
    let lastRef = -1;
    try {
      for (const id of ids) {
        const series = this.#trying(`${where}: series ${id}`, () => index.series(id));
        if (series === undefined) continue;
        const { labels, chunks } = series;
        const name = `${block.dir}: series ${JSON.stringify(labels)}`;
        this.#labels(name, labels);
        if (before !== null && compareLabels(before, labels) >= 0) {
          this.#report("error", name, "does not come after the series before");
        }
        before = labels;
        for (let i = 0; i < labels.length; i += 2) {
          const pair = `${labels[i] as string}\xff${labels[i + 1] as string}`;
          pairs.set(pair, (pairs.get(pair) ?? 0) + 1);
        }
        counts.numSeries++;
        if (chunks.length === 0) this.#report("error", name, "has no chunk");
        let last: IndexedChunk | null = null;
        for (const chunk of chunks) {
          if (chunk.ref <= lastRef)
            this.#report("error", name, `chunk reference ${chunk.ref} goes back`);
          lastRef = chunk.ref;
          if (last !== null && chunk.minTime <= last.maxTime) {
            this.#report("error", name, `chunk from ${chunk.minTime} overlaps the one before`);
          }
          last = chunk;
          if (chunk.minTime < block.minTime || chunk.maxTime > block.maxTime) {
            this.#report(
              "error",
              name,
              `chunk from ${chunk.minTime} to ${chunk.maxTime} is outside of the block`,
            );
          }
          counts.numChunks++;
          const read = this.#trying(name, () => ({ ...chunk, ...files.read(chunk.ref) }));
          if (read === undefined || read.encoding === ChunkEncoding.AGGREGATE) continue;
          const samples = this.#chunk(name, read);
          counts.numSamples += samples;
          if (holdsFloats(read.encoding)) counts.floats += samples;
        }
      }
    } finally {
      files.close();
    }
    this.#postings(where, index, pairs, new Set(ids));
    this.#stats(block, counts);
    this.#tombstones(block.dir, new Set(ids));
    this.counts.series += counts.numSeries;
    this.counts.chunks += counts.numChunks;
    this.counts.samples += counts.numSamples;
  }

  #labels(where: string, labels: Labels): void {
    for (let i = 2; i < labels.length; i += 2) {
      if (compareStrings(labels[i - 2] as string, labels[i] as string) >= 0) {
        this.#report("error", where, `label ${labels[i]} is not in order`);
      }
    }
  }

  /** @returns The number of samples. */
  #chunk(where: string, chunk: Chunk): number {
    const samples = this.#trying(where, () => decodeSamples(chunk));
    if (samples === undefined) return 0;
    const { times } = samples;
    const { minTime, maxTime } = chunk;
    if (times.length === 0) this.#report("error", where, `chunk from ${minTime} is empty`);
    else if (Number(times[0]) !== minTime || Number(times.at(-1)) !== maxTime) {
      const said = `${minTime} to ${maxTime}`;
      this.#report(
        "error",
        where,
        `chunk of ${times[0]} to ${times.at(-1)} is said to be of ${said}`,
      );
    }
    for (let i = 1; i < times.length; i++) {
      if ((times[i] as bigint) <= (times[i - 1] as bigint)) {
        this.#report("error", where, `sample at ${times[i]} does not come after the one before`);
        break;
      }
    }
    return times.length;
  }

  /** Every list names series that there are, as many as have the pair. */
  #postings(
    where: string,
    index: IndexReader,
    pairs: ReadonlyMap<string, number>,
    ids: ReadonlySet<number>,
  ): void {
    const seen = new Set<string>();
    for (const name of index.labelNames()) {
      for (const value of index.values(name)) {
        const pair = `${name}\xff${value}`;
        seen.add(pair);
        const list = this.#trying(where, () => index.postings(name, value));
        if (list === undefined) continue;
        const stray = list.find((id) => !ids.has(id));
        if (stray !== undefined)
          this.#report("error", where, `postings of ${name}=${value}: no series ${stray}`);
        const want = pairs.get(pair) ?? 0;
        if (list.length !== want) {
          this.#report(
            "error",
            where,
            `postings of ${name}=${value}: ${list.length}, but ${want} series have it`,
          );
        }
      }
    }
    for (const pair of pairs.keys()) {
      if (!seen.has(pair))
        this.#report("error", where, `no postings of ${pair.replace("\xff", "=")}`);
    }
  }

  #stats(
    { dir, meta: { stats } }: BlockReader,
    counts: { numSeries: number; numChunks: number; numSamples: number; floats: number },
  ): void {
    const where = path.join(dir, "meta.json");
    for (const key of ["numSeries", "numChunks", "numSamples"] as const) {
      const said = stats[key];
      if (said !== undefined && said !== counts[key]) {
        this.#report("error", where, `${key} is ${said}, found ${counts[key]}`);
      }
    }
    const { numFloatSamples } = stats;
    if (numFloatSamples !== undefined && numFloatSamples !== counts.floats) {
      this.#report("error", where, `numFloatSamples is ${numFloatSamples}, found ${counts.floats}`);
    }
  }

  #tombstones(dir: string, ids: ReadonlySet<number>): void {
    if (!existsSync(path.join(dir, "tombstones"))) {
      this.#report("warning", dir, "no tombstones file");
      return;
    }
    const stones = this.#trying(path.join(dir, "tombstones"), () => readTombstones(dir));
    for (const id of stones?.keys() ?? []) {
      if (!ids.has(id)) this.#report("warning", path.join(dir, "tombstones"), `no series ${id}`);
    }
  }
}
