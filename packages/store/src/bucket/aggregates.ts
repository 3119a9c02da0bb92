/**
 * The chunk of a downsampled block (encoding 255 of Thanos): five entries, count, sum, min, max, counter,
 * each `uvarint length | u8 encoding | length bytes` of a plain chunk, or a length of 0 where there is none.
 */

import { ByteReader } from "@torus/encoding";
import { ChunkEncoding } from "@torus/model";
import { BlockFileDamagedError, decoding } from "./index-bytes.ts";

export const AGGREGATE_ORDER = ["count", "sum", "min", "max", "counter"] as const;
export type AggregateName = (typeof AGGREGATE_ORDER)[number];

export type AggregateChunks = Partial<
  Record<AggregateName, { encoding: ChunkEncoding; data: Uint8Array }>
>;

const PLAIN = new Set<number>([
  ChunkEncoding.XOR,
  ChunkEncoding.HISTOGRAM,
  ChunkEncoding.FLOAT_HISTOGRAM,
]);

/** The aggregates of a chunk's data, as views of it. @throws {BlockFileDamagedError} */
export function splitAggregates(data: Uint8Array): AggregateChunks {
  return decoding("aggregate chunk", () => {
    const reader = new ByteReader(data);
    const out: AggregateChunks = {};
    for (const name of AGGREGATE_ORDER) {
      const length = reader.uvarint();
      if (length === 0) continue;
      const encoding = reader.u8();
      if (!PLAIN.has(encoding)) {
        throw new BlockFileDamagedError(`aggregate chunk: ${name} has encoding ${encoding}`);
      }
      out[name] = { encoding: encoding as ChunkEncoding, data: reader.take(length) };
    }
    return out;
  });
}
