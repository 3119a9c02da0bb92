/**
 * Start timestamps inside the encodings that have them (Prometheus, tsdb/docs/format/chunks.md; XOR2 and the ST forms).
 *
 * The header's top bit says that the first sample's is stored; the other bits are the index of the first sample (from 1)
 * behind which one is stored, 0 for none. Up to there all are that of the first sample, or 0.
 */

import type { BitReader, BitWriter } from "@torus/encoding";
import { readVarbitInt, writeVarbitInt } from "./varbit.ts";

const FIRST_STORED = 0x80;
/** The header has seven bits for the index: from here on every sample has its own, whether it changes or not. */
const LAST_START = 127;

export class StartTimeWriter {
  header = 0;
  #startTime = 0n;
  /** Time of the sample before minus its start timestamp, as written last. */
  #distance = 0n;
  #time = 0n;

  /** Behind sample `index`. */
  write(out: BitWriter, index: number, time: bigint, startTime: bigint): void {
    if (index === 0) {
      if (startTime !== 0n) {
        this.header = FIRST_STORED;
        out.varintBig(BigInt.asIntN(64, time - startTime));
      }
    } else {
      const from = this.header & LAST_START;
      if (from === 0 && (startTime !== this.#startTime || index === LAST_START)) {
        this.header |= index;
        this.#distance = 0n;
      }
      if ((this.header & LAST_START) !== 0) {
        const distance = BigInt.asIntN(64, this.#time - startTime);
        writeVarbitInt(out, BigInt.asIntN(64, distance - this.#distance));
        this.#distance = distance;
      }
    }
    this.#time = time;
    this.#startTime = startTime;
  }
}

export class StartTimeReader {
  readonly header: number;
  #startTime = 0n;
  #distance = 0n;
  #time = 0n;

  constructor(header: number) {
    this.header = header;
  }

  /** @throws {ChunkTruncatedError} */
  read(reader: BitReader, index: number, time: bigint): bigint {
    const from = this.header & LAST_START;
    if (index === 0) {
      if ((this.header & FIRST_STORED) !== 0) {
        this.#startTime = BigInt.asIntN(64, time - reader.varintBig());
      }
    } else if (from !== 0 && index >= from) {
      this.#distance = BigInt.asIntN(64, this.#distance + readVarbitInt(reader));
      this.#startTime = BigInt.asIntN(64, this.#time - this.#distance);
    }
    this.#time = time;
    return this.#startTime;
  }
}
