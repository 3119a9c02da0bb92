/** How a block's series and chunks are made up: what an operator asks who wants to know where it all comes from. */

import path from "node:path";
import { ChunkEncoding, labelValue, METRIC_NAME } from "@torus/model";
import type { BlockReader } from "../block/block-reader.ts";
import { ChunkSegmentReader } from "../block/chunk-segments.ts";
import { chunkSampleCount } from "../chunkenc/chunk-samples.ts";

export type Ranked = { name: string; count: number };

export type BlockAnalysis = {
  series: number;
  chunks: number;
  samples: number;
  chunkBytes: number;
  labelNames: number;
  labelPairs: number;
  /** Each list in falling order. Values of a label name. */
  valuesByName: Ranked[];
  /** Bytes of all different values of a label name. */
  valueBytesByName: Ranked[];
  seriesByPair: Ranked[];
  seriesByMetric: Ranked[];
  chunksByEncoding: Ranked[];
};

/** @param limit The length of the lists. */
export function analyzeBlock(block: BlockReader, limit: number): BlockAnalysis {
  const index = block.index();
  const names = index.labelNames();
  const valuesByName: Ranked[] = [];
  const valueBytesByName: Ranked[] = [];
  const seriesByPair: Ranked[] = [];
  for (const name of names) {
    let count = 0;
    let bytes = 0;
    for (const value of index.values(name)) {
      count++;
      bytes += Buffer.byteLength(value);
      seriesByPair.push({ name: `${name}=${value}`, count: index.postings(name, value).length });
    }
    valuesByName.push({ name, count });
    valueBytesByName.push({ name, count: bytes });
  }
  const metrics = new Map<string, number>();
  const encodings = new Map<string, number>();
  let series = 0;
  let chunks = 0;
  let samples = 0;
  let chunkBytes = 0;
  const files = new ChunkSegmentReader(path.join(block.dir, "chunks"));
  try {
    for (const id of index.all()) {
      const { labels, chunks: indexed } = index.series(id);
      series++;
      add(metrics, labelValue(labels, METRIC_NAME), 1);
      for (const { ref } of indexed) {
        const chunk = files.read(ref);
        chunks++;
        chunkBytes += chunk.data.length;
        add(encodings, encodingName(chunk.encoding), 1);
        if (chunk.encoding !== ChunkEncoding.AGGREGATE) samples += chunkSampleCount(chunk);
      }
    }
  } finally {
    files.close();
  }
  const pairs = seriesByPair.length;
  return {
    series,
    chunks,
    samples,
    chunkBytes,
    labelNames: names.length,
    labelPairs: pairs,
    valuesByName: ranked(valuesByName, limit),
    valueBytesByName: ranked(valueBytesByName, limit),
    seriesByPair: ranked(seriesByPair, limit),
    seriesByMetric: ranked(
      [...metrics].map(([name, count]) => ({ name, count })),
      limit,
    ),
    chunksByEncoding: ranked(
      [...encodings].map(([name, count]) => ({ name, count })),
      limit,
    ),
  };
}

function add(counts: Map<string, number>, key: string, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count);
}

function ranked(list: Ranked[], limit: number): Ranked[] {
  return list.sort((a, b) => b.count - a.count || (a.name < b.name ? -1 : 1)).slice(0, limit);
}

function encodingName(encoding: number): string {
  const found = Object.entries(ChunkEncoding).find(([, byte]) => byte === encoding);
  return found?.[0] ?? `encoding ${encoding}`;
}
