/** Series entries of a block's index, fetched by their ids (Prometheus, tsdb/docs/format/index.md). */

import { ByteReader } from "@torus/encoding";
import type { ByteRange, LoadedPages, PageCache, ReadContext } from "./bucket-pages.ts";
import { BlockFileDamagedError, checkCrc, decoding } from "./index-bytes.ts";
import type { IndexHeader } from "./index-header.ts";

/** Most entries are shorter; a longer one costs a second look. */
const LIKELY_BYTES = 512;
/** uvarint length before the body, and the checksum behind it. */
const MAX_LENGTH_BYTES = 5;
const MAX_ENTRY_BYTES = 64 << 20;

export type ChunkPlace = {
  minTime: number;
  maxTime: number;
  /** Segment, from 1 as its file is called. */
  segment: number;
  offset: number;
};

export type SeriesEntry = {
  labels: string[];
  /** Those that overlap what was asked for. */
  chunks: ChunkPlace[];
};

/**
 * Reads the series with these ids; of their chunks those that overlap [mint, maxt].
 *
 * @throws {BlockFileDamagedError}
 */
export async function readSeries(
  header: IndexHeader,
  pages: PageCache,
  indexName: string,
  ids: Uint32Array,
  range: { mint: number; maxt: number },
  context: ReadContext,
): Promise<SeriesEntry[]> {
  const places = Array.from(ids, (id) => id * 16);
  const likely = places.map((at): ByteRange => [at, at + LIKELY_BYTES]);
  const loaded = await pages.load(indexName, likely, context);
  const entries: (SeriesEntry | undefined)[] = [];
  const longer: ByteRange[] = [];
  for (const at of places) {
    const end = entryEnd(loaded, at, indexName);
    const bytes = loaded.available(at, end);
    if (bytes.length < end - at) longer.push([at, end]);
    entries.push(
      bytes.length < end - at ? undefined : decodeEntry(header, bytes, at, indexName, range),
    );
  }
  if (longer.length > 0) {
    const more = await pages.load(indexName, longer, context);
    let next = 0;
    for (let i = 0; i < entries.length; i++) {
      if (entries[i] !== undefined) continue;
      const [at, end] = longer[next++] as ByteRange;
      entries[i] = decodeEntry(header, more.view(at, end), at, indexName, range);
    }
  }
  return entries as SeriesEntry[];
}

function entryEnd(pages: LoadedPages, at: number, indexName: string): number {
  const what = `${indexName}: series at ${at}`;
  const head = new ByteReader(pages.available(at, at + MAX_LENGTH_BYTES));
  const length = decoding(what, () => head.uvarint());
  if (length > MAX_ENTRY_BYTES) throw new BlockFileDamagedError(`${what}: ${length} bytes`);
  return at + head.offset + length + 4;
}

function decodeEntry(
  header: IndexHeader,
  bytes: Uint8Array,
  at: number,
  indexName: string,
  { mint, maxt }: { mint: number; maxt: number },
): SeriesEntry {
  const what = `${indexName}: series at ${at}`;
  return decoding(what, () => {
    const entry = new ByteReader(bytes, 0, bytes.length - 4);
    entry.uvarint();
    checkCrc(bytes, entry.offset, what);
    const labels: string[] = [];
    // Every count is followed by at least a byte per item, so reading ends with the entry whatever it says.
    const labelCount = entry.uvarint();
    for (let i = 0; i < labelCount; i++) {
      labels.push(header.symbol(entry.uvarint()));
      labels.push(header.symbol(entry.uvarint()));
    }
    const chunks: ChunkPlace[] = [];
    const chunkCount = entry.uvarint();
    let maxTime = 0;
    let ref = 0;
    for (let i = 0; i < chunkCount; i++) {
      const minTime = i === 0 ? entry.varint() : maxTime + entry.uvarint();
      maxTime = minTime + entry.uvarint();
      ref += i === 0 ? entry.uvarint() : entry.varint();
      if (ref < 0) throw new BlockFileDamagedError(`${what}: chunk reference ${ref}`);
      if (maxTime < mint || minTime > maxt) continue;
      const segment = Math.floor(ref / 0x100000000) + 1;
      chunks.push({ minTime, maxTime, segment, offset: ref % 0x100000000 });
    }
    return { labels, chunks };
  });
}
