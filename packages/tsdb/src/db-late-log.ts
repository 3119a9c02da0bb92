/** `wbl/`: the log of samples that came out of order. Its segments are made when the first one comes. */

import { existsSync } from "node:fs";
import type { LateSamples } from "./head/late-samples.ts";
import type { RecordLog } from "./head/record-log.ts";
import { type LoggedSample, sampleRecords } from "./head/sample-records.ts";
import { encodeRecord } from "./wlog/records.ts";
import type { Compression } from "./wlog/segment.ts";
import { LogWriter } from "./wlog/writer.ts";

const RECORD_SAMPLES = 4096;

export class LateLog implements RecordLog {
  readonly #dir: string;
  readonly #compression: Compression;
  #writer: LogWriter | null = null;

  constructor(dir: string, compression: Compression) {
    this.#dir = dir;
    this.#compression = compression;
  }

  log(records: readonly Uint8Array[]): void {
    this.#open().log(records);
  }

  /**
   * Begins a segment that holds what is left of the late samples, and deletes those before it. When the process
   * dies between the two, samples are there twice; they are one by their time.
   */
  rewrite(late: LateSamples): void {
    if (!existsSync(this.#dir)) return;
    const writer = this.#open();
    writer.nextSegment();
    const segment = writer.segment;
    for (const [ref, samples] of late.entries()) {
      for (let from = 0; from < samples.count; from += RECORD_SAMPLES) {
        const to = Math.min(from + RECORD_SAMPLES, samples.count);
        const part: LoggedSample[] = [];
        for (let i = from; i < to; i++) {
          const startTime = samples.startTimes?.[i] ?? 0;
          part.push({ ref, time: samples.times[i] as number, startTime, value: samples.value(i) });
        }
        writer.log(sampleRecords(part).map(encodeRecord));
      }
    }
    writer.sync();
    writer.truncate(segment);
  }

  close(): void {
    this.#writer?.close();
  }

  /** Closes the file as it is. */
  abandon(): void {
    this.#writer?.abandon();
  }

  #open(): LogWriter {
    this.#writer ??= new LogWriter(this.#dir, { compression: this.#compression });
    return this.#writer;
  }
}
