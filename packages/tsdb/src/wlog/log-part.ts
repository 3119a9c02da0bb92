/** A further segment of a log that is written piece by piece, each by a call of its own. */

import { LogWriter } from "./writer.ts";

export type LogPart = {
  dir: string;
  memory: ArrayBufferLike;
  /** A record of this type whose body lies in `memory`, before the others; null for none. */
  kernel: { type: number; at: number; length: number } | null;
  records: readonly Uint8Array[];
};

/** Writes the records and syncs them; `dir` is made when it is missing. */
export function writeLogPart({ dir, memory, kernel, records }: LogPart): void {
  const out = new LogWriter(dir, { compression: "none" });
  try {
    if (kernel !== null) {
      const record = new Uint8Array(1 + kernel.length);
      record[0] = kernel.type;
      record.set(new Uint8Array(memory, kernel.at, kernel.length), 1);
      out.log([record]);
    }
    out.log(records);
    out.close();
  } catch (error) {
    out.abandon();
    throw error;
  }
}
