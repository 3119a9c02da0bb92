/** Start timestamps put into the chunks of a head, which keeps them beside its floats. */

import { xorToXor2 } from "@torus/kernels";
import { type Chunk, ChunkEncoding } from "@torus/model";
import { isWithinDoubles } from "./chunk-samples.ts";
import { decodeXor } from "./xor.ts";
import { Xor2Appender } from "./xor2.ts";

/**
 * The chunk with start timestamps; as it is when none of its samples has one, or it is none of floats.
 *
 * @param runs First time and start timestamp (ms, 0 for none) in turn, ascending; null for none at all.
 * @throws {ChunkTruncatedError} @throws {ChunkMalformedError}
 */
export function withStartTimes(chunk: Chunk, runs: ArrayLike<number> | null): Chunk {
  if (runs === null || chunk.encoding !== ChunkEncoding.XOR) return chunk;
  let run = 0;
  const isBefore = (time: number) => run < runs.length && (runs[run] as number) <= time;
  while (isBefore(chunk.minTime)) run += 2;
  let isStarted = run > 0 && runs[run - 1] !== 0;
  for (let i = run; i < runs.length && (runs[i] as number) <= chunk.maxTime; i += 2) {
    isStarted ||= runs[i + 1] !== 0;
  }
  if (!isStarted) return chunk;
  const data = isWithinDoubles(chunk) ? xorToXor2(chunk.data, runs) : null;
  if (data !== null) return { ...chunk, encoding: ChunkEncoding.XOR2, data };
  const { times, values } = decodeXor(chunk.data);
  const out = new Xor2Appender();
  let startTime = run === 0 ? 0n : BigInt(runs[run - 1] as number);
  for (let i = 0; i < times.length; i++) {
    const time = times[i] as bigint;
    while (isBefore(Number(time))) {
      startTime = BigInt(runs[run + 1] as number);
      run += 2;
    }
    out.append(time, values[i] as bigint, startTime);
  }
  return { ...chunk, encoding: ChunkEncoding.XOR2, data: out.bytes() };
}
