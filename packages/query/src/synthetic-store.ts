/**
 * For tests: a StoreAPI endpoint with as many series as a test wants, which are made while they are sent.
 *
 *   load{i="0000000", pad0="xxx…", …}  value 1 at startMs, startMs + stepMs, …
 */

import { ByteWriter } from "@torus/encoding";
import {
  ChunkEncoding,
  type ChunkQueryable,
  type ChunkSelect,
  type ChunkSeries,
} from "@torus/model";
import { createLogger, GrpcServer, type GrpcServerTls } from "@torus/server";
import { storeMethods } from "@torus/store";
import { Registry } from "prom-client";

export type SyntheticSeries = {
  name: string;
  count: number;
  samples: number;
  startMs: number;
  stepMs: number;
  /** Further labels, each of so many characters. */
  pads?: { labels: number; size: number };
};

export const quietLog = createLogger({
  level: "error",
  format: "logfmt",
  now: Date.now,
  write: () => {},
});

/** A chunk whose samples are all 1: behind the second sample's delta there are only zero bits. */
function chunkOfOnes(samples: number, startMs: number, stepMs: number): Uint8Array {
  const out = new ByteWriter(32);
  out.u16(samples);
  out.varint(startMs);
  out.u32(0x3ff00000);
  out.u32(0);
  if (samples > 1) {
    out.uvarint(stepMs);
    for (let i = 0; i < Math.ceil((1 + 2 * (samples - 2)) / 8); i++) out.u8(0);
  }
  return out.copy();
}

class Synthetic implements ChunkQueryable {
  readonly #all: readonly SyntheticSeries[];

  constructor(all: readonly SyntheticSeries[]) {
    this.#all = [...all].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async *selectChunks(select: ChunkSelect): AsyncGenerator<readonly ChunkSeries[]> {
    for (const { name, count, samples, startMs, stepMs, pads } of this.#all) {
      const byName = select.matchers.filter((matcher) => matcher.name === "__name__");
      if (!byName.every((matcher) => matcher.matches(name))) continue;
      const chunk = {
        minTime: startMs,
        maxTime: startMs + (samples - 1) * stepMs,
        encoding: ChunkEncoding.XOR,
        data: chunkOfOnes(samples, startMs, stepMs),
      };
      if (chunk.minTime > select.maxt || chunk.maxTime < select.mint) continue;
      for (let i = 0; i < count && !select.signal.aborted; i += 64) {
        const batch: ChunkSeries[] = [];
        for (let j = i; j < Math.min(i + 64, count); j++) {
          const labels = ["__name__", name, "i", String(j).padStart(7, "0")];
          for (let pad = 0; pad < (pads?.labels ?? 0); pad++) {
            labels.push(
              `pad${String(pad).padStart(3, "0")}`,
              String(j).padEnd(pads?.size ?? 0, "x"),
            );
          }
          batch.push({ labels, chunks: select.skipChunks ? [] : [chunk] });
        }
        yield batch;
        // Others get their turn: the endpoint is in the test's own thread.
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
    }
  }

  labelNames(): Promise<string[]> {
    return Promise.resolve(["__name__", "i"]);
  }

  labelValues(name: string): Promise<string[]> {
    return Promise.resolve(name === "__name__" ? this.#all.map((each) => each.name) : []);
  }
}

/** Serves them without external labels. */
export async function serveSynthetic(
  all: readonly SyntheticSeries[],
  tls?: GrpcServerTls,
): Promise<{ address: string; stop: () => Promise<void> }> {
  const server = new GrpcServer({
    log: quietLog,
    metrics: new Registry(),
    maxMessageBytes: 1 << 24,
    ...(tls === undefined ? {} : { tls }),
  });
  server.add(
    storeMethods({
      componentType: "receive",
      sources: () => [
        {
          labels: [],
          mint: Math.min(...all.map(({ startMs }) => startMs)),
          maxt: Math.max(...all.map(({ startMs, samples, stepMs }) => startMs + samples * stepMs)),
          queryable: new Synthetic(all),
        },
      ],
      ready: () => true,
      openEnded: true,
    }),
  );
  const address = await server.listen("127.0.0.1:0");
  return { address, stop: () => server.stop(0) };
}
