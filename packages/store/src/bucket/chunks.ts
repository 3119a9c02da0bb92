/** Chunks of a block's segment files, fetched by their places (Prometheus, tsdb/docs/format/chunks.md). */

import { CHUNKS_DIR } from "@torus/block";
import { ByteReader } from "@torus/encoding";
import { type Chunk, ChunkEncoding } from "@torus/model";
import type { ByteRange, LoadedPages, PageCache, ReadContext } from "./bucket-pages.ts";
import { BlockFileDamagedError, checkCrc, decoding } from "./index-bytes.ts";
import type { ChunkPlace } from "./series.ts";

/** Prometheus cuts a chunk near 1 KiB; a longer one costs a second look. */
const LIKELY_BYTES = 1200;
const MAX_CHUNK_BYTES = 64 << 20;
const ENCODINGS = new Set<number>(Object.values(ChunkEncoding));

/** About how much `readChunks` will fetch for these places. */
export function likelyChunkBytes(places: readonly ChunkPlace[]): number {
  return places.length * LIKELY_BYTES;
}

/**
 * Reads all chunks of several series at once; the answer has the shape of `series`.
 *
 * @throws {BlockFileDamagedError}
 */
export async function readChunks(
  pages: PageCache,
  ulid: string,
  series: readonly (readonly ChunkPlace[])[],
  context: ReadContext,
): Promise<Chunk[][]> {
  const wanted = new Map<number, ByteRange[]>();
  for (const places of series) {
    for (const { segment, offset } of places) {
      const ranges = wanted.get(segment);
      const range: ByteRange = [offset, offset + LIKELY_BYTES];
      if (ranges === undefined) wanted.set(segment, [range]);
      else ranges.push(range);
    }
  }
  const segments = new Map<number, LoadedPages>();
  await loadAll(pages, ulid, wanted, segments, context);
  // A second look for what is longer than likely.
  const longer = new Map<number, ByteRange[]>();
  for (const places of series) {
    for (const { segment, offset } of places) {
      const loaded = segments.get(segment) as LoadedPages;
      const end = chunkEnd(loaded, offset, segmentName(ulid, segment));
      if (loaded.available(offset, end).length === end - offset) continue;
      const ranges = longer.get(segment);
      if (ranges === undefined) longer.set(segment, [[offset, end]]);
      else ranges.push([offset, end]);
    }
  }
  const rest = new Map<number, LoadedPages>();
  await loadAll(pages, ulid, longer, rest, context);
  return series.map((places) =>
    places.map((place) => {
      const name = segmentName(ulid, place.segment);
      const loaded = segments.get(place.segment) as LoadedPages;
      const end = chunkEnd(loaded, place.offset, name);
      const bytes = loaded.available(place.offset, end);
      const whole =
        bytes.length === end - place.offset
          ? bytes
          : (rest.get(place.segment) as LoadedPages).view(place.offset, end);
      return decodeChunk(whole, place, name);
    }),
  );
}

async function loadAll(
  pages: PageCache,
  ulid: string,
  wanted: ReadonlyMap<number, readonly ByteRange[]>,
  into: Map<number, LoadedPages>,
  context: ReadContext,
): Promise<void> {
  await Promise.all(
    [...wanted].map(async ([segment, ranges]) => {
      into.set(segment, await pages.load(segmentName(ulid, segment), ranges, context));
    }),
  );
}

function segmentName(ulid: string, segment: number): string {
  return `${ulid}/${CHUNKS_DIR}/${String(segment).padStart(6, "0")}`;
}

function chunkEnd(pages: LoadedPages, offset: number, name: string): number {
  const what = `${name}: chunk at ${offset}`;
  const head = new ByteReader(pages.available(offset, offset + 5));
  const length = decoding(what, () => head.uvarint());
  if (length > MAX_CHUNK_BYTES) throw new BlockFileDamagedError(`${what}: ${length} bytes`);
  return offset + head.offset + 1 + length + 4;
}

function decodeChunk(bytes: Uint8Array, place: ChunkPlace, name: string): Chunk {
  const what = `${name}: chunk at ${place.offset}`;
  const chunk = new ByteReader(bytes);
  const length = chunk.uvarint();
  checkCrc(bytes, chunk.offset, what);
  const encoding = chunk.u8();
  if (!ENCODINGS.has(encoding)) throw new BlockFileDamagedError(`${what}: encoding ${encoding}`);
  return {
    minTime: place.minTime,
    maxTime: place.maxTime,
    encoding: encoding as ChunkEncoding,
    data: chunk.take(length),
  };
}
