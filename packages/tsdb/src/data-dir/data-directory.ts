/**
 * A block's directory, or the data directory of a Prometheus or of one of our tenants, read by tools: all that a query
 * would find, tombstones applied, and nothing changed or locked. A writer may be at work on it.
 */

import { existsSync, readdirSync, statSync } from "node:fs";
import path from "node:path";
import {
  ChunkEncoding,
  compareLabels,
  isUlid,
  type Labels,
  labelValue,
  type Matcher,
} from "@torus/model";
import { BlockReader } from "../block/block-reader.ts";
import { decodeSamples } from "../chunkenc/chunk-samples.ts";
import type { StoredSamples } from "../chunkenc/samples.ts";
import { OfflineHead, type OfflineSeries } from "./offline-head.ts";
import { mergeRuns, runsOfChunks, without } from "./runs.ts";

/** Neither a block nor a data directory. */
export class NoDataDirectoryError extends Error {
  readonly dir: string;
  constructor(dir: string, what: string) {
    super(`open ${dir}: ${what}`);
    this.name = "NoDataDirectoryError";
    this.dir = dir;
  }
}

export type DirectorySeries = { labels: Labels; samples: StoredSamples };

const OUT_OF_ORDER_HINT = "from-out-of-order";

export function isBlockDirectory(dir: string): boolean {
  return existsSync(path.join(dir, "meta.json")) && existsSync(path.join(dir, "index"));
}

/** All series of the directory that match one of several lists of matchers, or all where there is no list. */
export function selectAny(
  directory: DataDirectory,
  lists: readonly (readonly Matcher[])[],
  mint: number,
  maxt: number,
): Iterable<DirectorySeries> {
  const [only = []] = lists;
  if (lists.length < 2) return directory.select(only, mint, maxt);
  return filtered(directory.select([], mint, maxt), ({ labels }) =>
    lists.some((matchers) =>
      matchers.every((matcher) => matcher.matches(labelValue(labels, matcher.name))),
    ),
  );
}

function* filtered<T>(items: Iterable<T>, keep: (item: T) => boolean): Generator<T> {
  for (const item of items) if (keep(item)) yield item;
}

function hasHead(dir: string): boolean {
  return ["wal", "wbl", "chunks_head"].some((name) => existsSync(path.join(dir, name)));
}

export function holdsData(dir: string): boolean {
  if (!existsSync(dir)) return false;
  return isBlockDirectory(dir) || hasHead(dir) || blockDirectories(dir).length > 0;
}

/** Directories of blocks in a data directory, ascending by name. */
export function blockDirectories(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => isUlid(name) && isBlockDirectory(path.join(dir, name)))
    .sort()
    .map((name) => path.join(dir, name));
}

/** How often a directory is read again because its writer cut a block or its log meanwhile. */
const MOST_READS = 10;

/** Names of blocks, segments and checkpoints: they change when samples move from one to another. */
function partsOf(dir: string): string {
  return ["", "wal", "wbl", "chunks_head"]
    .map((name) => path.join(dir, name))
    .map((part) => (existsSync(part) ? readdirSync(part).sort().join(",") : ""))
    .join(";");
}

/**
 * Reads a directory, and once more when its writer cut a block or its log meanwhile: what moves from the log into a block
 * would be in neither, or a segment gone that was to be read.
 */
export function undisturbed<T>(dir: string, read: () => T): T {
  for (let reads = 1; ; reads++) {
    const before = partsOf(dir);
    const isLast = () => reads === MOST_READS || partsOf(dir) === before;
    try {
      const result = read();
      if (isLast()) return result;
    } catch (error) {
      if (isLast()) throw error;
    }
  }
}

/** Where blocks of samples in order end: older samples of the log are in them. */
function inOrderEnd(blocks: readonly BlockReader[]): number {
  let end = Number.NEGATIVE_INFINITY;
  for (const { meta } of blocks) {
    if (meta.compaction.hints?.includes(OUT_OF_ORDER_HINT) === true) continue;
    end = Math.max(end, meta.maxTime);
  }
  return end;
}

export class DataDirectory {
  readonly dir: string;
  readonly blocks: readonly BlockReader[];
  /** null for a directory that has blocks only. */
  readonly head: OfflineHead | null;

  /**
   * What a writer moves meanwhile, from its log into a block, is in one of the two: both are of one moment.
   * @throws {NoDataDirectoryError} @throws {BlockMetaInvalidError} @throws {TombstonesDamagedError}
   */
  constructor(dir: string) {
    if (!existsSync(dir) || !statSync(dir).isDirectory()) {
      throw new NoDataDirectoryError(dir, "no such directory");
    }
    this.dir = dir;
    const isBlock = isBlockDirectory(dir);
    const { blocks, head } = undisturbed(dir, () => {
      const read = (isBlock ? [dir] : blockDirectories(dir))
        .map((block) => new BlockReader(block))
        .sort((x, y) => x.minTime - y.minTime || x.maxTime - y.maxTime);
      if (!holdsData(dir)) throw new NoDataDirectoryError(dir, "no block and no data directory");
      const log = isBlock || !hasHead(dir) ? null : new OfflineHead(dir, inOrderEnd(read));
      return { blocks: read, head: log };
    });
    this.blocks = blocks;
    this.head = head;
  }

  /**
   * Series that match and have a sample in [mint, maxt], in label order, with these samples.
   * @throws {IndexDamagedError} @throws {ChunkFileDamagedError} @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
   */
  *select(matchers: readonly Matcher[], mint: number, maxt: number): Generator<DirectorySeries> {
    const streams: Iterator<PartOfSeries>[] = this.blocks.map((block) =>
      ofBlock(block, matchers, mint, maxt),
    );
    if (this.head !== null) streams.push(ofHead(this.head, matchers, mint, maxt));
    const heads = streams.map((stream) => stream.next());
    for (;;) {
      let labels: Labels | null = null;
      for (const head of heads) {
        if (head.done === true) continue;
        if (labels === null || compareLabels(head.value.labels, labels) < 0)
          ({ labels } = head.value);
      }
      if (labels === null) return;
      const runs: StoredSamples[] = [];
      for (const [i, head] of heads.entries()) {
        if (head.done === true || compareLabels(head.value.labels, labels) !== 0) continue;
        runs.push(...head.value.runs);
        heads[i] = (streams[i] as Iterator<PartOfSeries>).next();
      }
      const samples = mergeRuns(runs);
      if (samples.times.length > 0) yield { labels, samples };
    }
  }
}

/** Whether any sample has a start timestamp. Reads all chunks, and decodes those whose encoding may have one. */
export function hasStartTimes(directory: DataDirectory): boolean {
  for (const series of directory.head?.series ?? []) {
    if (series.runs().some(anyStartTime)) return true;
  }
  for (const block of directory.blocks) {
    for (const { chunks } of block.rawSeries(
      [],
      Number.NEGATIVE_INFINITY,
      Number.POSITIVE_INFINITY,
    )) {
      for (const chunk of chunks) {
        const may =
          chunk.encoding >= ChunkEncoding.XOR2 && chunk.encoding < ChunkEncoding.AGGREGATE;
        if (may && anyStartTime(decodeSamples(chunk))) return true;
      }
    }
  }
  return false;
}

function anyStartTime({ startTimes }: StoredSamples): boolean {
  return startTimes?.some((time) => time !== 0n) === true;
}

type PartOfSeries = { labels: Labels; runs: StoredSamples[] };

function* ofBlock(
  block: BlockReader,
  matchers: readonly Matcher[],
  mint: number,
  maxt: number,
): Generator<PartOfSeries> {
  // Postings are in the order of series, which is that of labels.
  for (const { labels, chunks, deleted } of block.rawSeries(matchers, mint, maxt)) {
    yield { labels, runs: runsOfChunks(chunks).map((run) => without(run, deleted, mint, maxt)) };
  }
}

function* ofHead(
  head: OfflineHead,
  matchers: readonly Matcher[],
  mint: number,
  maxt: number,
): Generator<PartOfSeries> {
  const matching: OfflineSeries[] = [];
  for (const series of head.series) {
    const matches = matchers.every((matcher) =>
      matcher.matches(labelValue(series.labels, matcher.name)),
    );
    if (matches) matching.push(series);
  }
  matching.sort((a, b) => compareLabels(a.labels, b.labels));
  for (const series of matching) {
    const { labels, deleted } = series;
    yield { labels, runs: series.runs().map((run) => without(run, deleted, mint, maxt)) };
  }
}
