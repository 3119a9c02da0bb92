/** Chunks of one series made free of overlap: those that overlap are decoded, united by time and encoded again. */

import { type Chunk, ChunkEncoding, type ChunkSeries } from "@torus/model";
import { decodeSamples } from "./chunkenc/chunk-samples.ts";
import { encodeChunks } from "./head/late-samples.ts";

/** Passes series on; what the index writer would refuse is mended. Of two samples of one time the first chunk's stays. */
export async function* withoutOverlap(
  batches: AsyncIterable<readonly ChunkSeries[]>,
): AsyncGenerator<readonly ChunkSeries[]> {
  for await (const batch of batches) {
    yield batch.map(({ labels, chunks }) => ({ labels, chunks: separated(chunks) }));
  }
}

/** @param chunks Ascending by minTime. */
function separated(chunks: readonly Chunk[]): readonly Chunk[] {
  const out: Chunk[] = [];
  for (let i = 0; i < chunks.length; ) {
    const group = [chunks[i] as Chunk];
    let end = group[0]?.maxTime as number;
    for (i++; i < chunks.length && (chunks[i] as Chunk).minTime <= end; i++) {
      group.push(chunks[i] as Chunk);
      end = Math.max(end, (chunks[i] as Chunk).maxTime);
    }
    // Histograms come in order only, so they overlap nothing.
    if (group.length === 1 || group.some(({ encoding }) => encoding !== ChunkEncoding.XOR)) {
      out.push(...group);
    } else out.push(...united(group));
  }
  return out;
}

function united(group: readonly Chunk[]): Chunk[] {
  const samples = new Map<number, bigint>();
  for (const chunk of group) {
    const { times, values } = decodeSamples(chunk);
    for (let i = 0; i < times.length; i++) {
      const time = Number(times[i]);
      if (!samples.has(time)) samples.set(time, values[i] as bigint);
    }
  }
  const times = Float64Array.from(samples.keys()).sort();
  const values = BigUint64Array.from(times, (time) => samples.get(time) as bigint);
  return encodeChunks(times, values, 0, times.length);
}
