/** Start timestamps between receivers of which one does not keep them, as records and as WriteRequests. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { ByteWriter, snappyEncode } from "@torus/encoding";
import { labelValue, Matcher } from "@torus/model";
import { decodeSamples } from "@torus/tsdb";
import { afterEach, expect, test } from "vitest";
import { Node, post } from "./test-cluster.ts";

const HOUR = 3_600_000;
const root = mkdtempSync(path.join(tmpdir(), "torus-receive-starts-"));
const nodes: Node[] = [];
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.stop()));
  rmSync(root, { recursive: true, force: true });
});

function field(number: number, ...parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  const out = new ByteWriter();
  out.uvarint(number * 8 + 2);
  out.uvarint(body.length);
  return Buffer.concat([out.copy(), body]);
}

function label(name: string, value: string): Uint8Array {
  return field(1, field(1, Buffer.from(name)), field(2, Buffer.from(value)));
}

/** What remote write 2.0 becomes: a Sample with field 3, left out for 0. */
function sample(value: number, time: number, startTime: number): Uint8Array {
  const out = new ByteWriter();
  const bits = Buffer.alloc(8);
  bits.writeDoubleLE(value);
  out.u8(0x09);
  out.bytes(bits);
  out.u8(0x10);
  out.uvarint(time);
  if (startTime !== 0) {
    out.u8(0x18);
    out.uvarint(startTime);
  }
  return field(2, out.copy());
}

type Stored = Record<string, [time: number, value: number, startTime: number][]>;

async function stored(node: Node): Promise<Stored> {
  const db = node.receiver?.tenants?.peek("default-tenant")?.db;
  const out: Stored = {};
  const select = {
    mint: 0,
    maxt: 2 ** 50,
    matchers: [new Matcher("=", "__name__", "up")],
    skipChunks: false,
    startTimes: true,
    limit: 0,
    signal: new AbortController().signal,
  };
  for await (const batch of db?.queryable().selectChunks(select) ?? []) {
    for (const { labels, chunks } of batch) {
      const samples = (out[labelValue(labels, "job")] ??= []);
      for (const chunk of chunks) {
        const { times, values, startTimes } = decodeSamples(chunk);
        const doubles = new Float64Array(values.slice().buffer);
        times.forEach((time, i) =>
          samples.push([Number(time), doubles[i] as number, Number(startTimes?.[i] ?? 0n)]),
        );
      }
    }
  }
  return out;
}

test.each([true, false])(
  "those that keep them have them all, the other has the samples; records: %s",
  async (records) => {
    const keeps = [true, false, true];
    for (let i = 0; i < 3; i++) {
      const node = new Node(path.join(root, `${records}-${i}`));
      nodes.push(node);
      await node.listen();
    }
    const endpoints = nodes.map(({ address }) => address);
    const hashrings = { file: "", inline: JSON.stringify([{ hashring: "test", endpoints }]) };
    for (const [i, node] of nodes.entries()) {
      const tsdb = {
        blockDurationMs: 2 * HOUR,
        retentionMs: 0,
        maxBytes: 0,
        outOfOrderWindowMs: HOUR,
        maxExemplars: 0,
        startTimes: keeps[i] === true,
        snapshotBytes: 0,
        walCompression: "none" as const,
      };
      const forward = { timeoutMs: 2000, maxBackoffMs: 200, maxInflightBytes: 64 << 20, records };
      await node.open(
        { hashrings, replicationFactor: 3, forward },
        { path: path.join(root, `${records}-${i}`), tsdb },
      );
    }
    const begin = Date.now() - 60_000;
    const want: Stored = { a: [], b: [] };
    for (let n = 0; n < 8; n++) {
      const time = begin + n * 1000;
      // One is restarted, the other tells nothing for a while; the last comes late.
      const at = n === 7 ? time - 1500 : time;
      const a = n < 4 ? begin - 1 : begin + 3500;
      const b = n % 3 === 1 ? 0 : begin - 7;
      want["a"]?.push([at, n, a]);
      want["b"]?.push([at, -n, b]);
      const series = [
        field(1, label("__name__", "up"), label("job", "a"), sample(n, at, a)),
        field(1, label("__name__", "up"), label("job", "b"), sample(-n, at, b)),
      ];
      // From whichever node it comes; calls between them open behind the first request.
      const body = snappyEncode(Buffer.concat(series));
      expect((await post(nodes[n % 2]?.http ?? "", body)).status).toBe(204);
      if (n < 2) await new Promise((resolve) => setTimeout(resolve, 200));
    }
    for (const all of Object.values(want)) all.sort(([x], [y]) => x - y);
    const bare = Object.fromEntries(
      Object.entries(want).map(([job, all]) => [job, all.map(([time, value]) => [time, value, 0])]),
    );
    for (const [i, node] of nodes.entries()) {
      const expected = keeps[i] === true ? want : bare;
      // Two of three are enough for the answer.
      const sorted = async () => {
        const found = await stored(node);
        for (const all of Object.values(found)) all.sort(([x], [y]) => x - y);
        return found;
      };
      for (let k = 0; k < 100 && (await sorted())["a"]?.length !== 8; k++) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      expect(await sorted(), `node ${i}`).toEqual(expected);
    }
  },
  20_000,
);
