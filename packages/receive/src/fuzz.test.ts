/**
 * A hundred thousand mutated messages at a receiver that runs: over HTTP remote write 1.0 and 2.0, in snappy and
 * Zstandard, and at its gRPC methods RemoteWrite in both forms and records. Each is answered, with 2xx or 4xx (OK or a
 * caller's fault in gRPC); afterwards nothing of them is held, and an ordinary request is taken.
 */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyEncode } from "@torus/encoding";
import { kernel, writeBufferBytesInUse } from "@torus/kernels";
import { type GrpcCall, GrpcError, GrpcStatus } from "@torus/server";
import { Random } from "@torus/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";
import { REMOTE_WRITE } from "./peers.ts";
import { encodeForget, encodeWriteHead, SHIP_RECORDS } from "./record-message.ts";
import { Node, writeBody } from "./test-cluster.ts";

const SEED = Number(process.env["TORUS_FUZZ_SEED"] ?? "20261123");
const SHARE = Number(process.env["TORUS_FUZZ_COUNT"] ?? "100000") / 100;
const AT_ONCE = 16;

const dir = mkdtempSync(path.join(tmpdir(), "torus-fuzz-"));
const node = new Node(dir);
beforeAll(async () => {
  await node.listen();
  await node.open({
    localEndpoint: "",
    http: {
      tenantHeader: "THANOS-TENANT",
      certificateField: "",
      replicaHeader: "THANOS-REPLICA",
      maxRequestBytes: 1 << 20,
      maxPendingBytes: 64 << 20,
    },
  });
});
afterAll(async () => {
  await node.stop();
  rmSync(dir, { recursive: true, force: true });
});

const golden = JSON.parse(
  readFileSync(new URL("../../../test/golden/wire/rw.json", import.meta.url), "utf8"),
) as { cases: { name: string; hex: string }[] };
const bodies = (version: string) =>
  golden.cases
    .filter(({ name, hex }) => name.startsWith(version) && hex !== "")
    .map(({ hex }) => Buffer.from(hex, "hex"));

/** Some bytes changed, left out, put in or doubled, numbers made huge, the end cut off. */
function mutated(random: Random, from: Uint8Array): Buffer {
  let bytes = Buffer.from(from);
  for (let i = random.between(1, 4); i > 0; i--) {
    const at = random.between(0, bytes.length);
    const end = Math.min(bytes.length, at + random.between(1, 12));
    const some = bytes.subarray(at, end);
    const parts = [bytes.subarray(0, at), some, bytes.subarray(end)];
    switch (random.between(0, 5)) {
      case 0:
        if (at < bytes.length) bytes[at] = random.between(0, 255);
        continue;
      case 1:
        parts[1] = Buffer.alloc(0);
        break;
      case 2:
        parts[1] = Buffer.concat([some, some]);
        break;
      case 3:
        parts[1] = Buffer.from(Array.from(some, () => random.between(0, 255)));
        break;
      case 4:
        parts[1] = Buffer.from([...Array<number>(random.between(1, 9)).fill(0xff), 0x01]);
        break;
      default:
        parts[2] = Buffer.alloc(0);
    }
    bytes = Buffer.concat(parts);
  }
  return bytes;
}

function zstd(content: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(0xfd2fb528, 0);
  head[4] = 0xa0;
  head.writeUInt32LE(content.length, 5);
  head.writeUIntLE((content.length << 3) | 1, 9, 3);
  return Buffer.concat([head, content]);
}

/** Some of the answers that there should not be. */
const refusals: string[] = [];
const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
afterAll(() => agent.destroy());

function post(body: Uint8Array, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      node.http,
      {
        agent,
        method: "POST",
        headers: { "content-length": body.length, ...headers },
        timeout: 20_000,
      },
      (response) => {
        let text = "";
        response.on("data", (part: Buffer) => {
          text += part.toString();
        });
        response.on("end", () => {
          const { statusCode = 0 } = response;
          if (statusCode >= 500 && refusals.length < 5) refusals.push(`${statusCode} ${text}`);
          resolve(statusCode);
        });
      },
    );
    request.on("timeout", () => request.destroy(new Error(`no answer to ${body.toString()}`)));
    request.on("error", reject);
    request.end(body);
  });
}

/** Runs `one` so many times, some at once, and counts what it answers. */
async function many(count: number, one: () => Promise<number>): Promise<Map<number, number>> {
  const answers = new Map<number, number>();
  let left = Math.ceil(count);
  const lane = async () => {
    while (left-- > 0) {
      const answer = await one();
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  return answers;
}

const RW2 = { "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request" };

test.each([
  ["1.0 in snappy", "rw1/", {}, 25, snappyEncode],
  ["2.0 in snappy", "rw2/", RW2, 20, snappyEncode],
  ["1.0 in Zstandard", "rw1/", { "content-encoding": "zstd" }, 10, zstd],
] as const)(
  "mutated bodies of %s are answered with 2xx or 4xx",
  async (_, version, headers, share, pack) => {
    const random = new Random(SEED);
    const all = bodies(version);
    const tenants = Array.from({ length: 10 }, (_each, i) => `t-${i}`);
    const answers = await many(share * SHARE, () => {
      const body = random.pick(all);
      // What is packed is wrong, or the packing.
      const bytes = random.unit() < 0.6 ? pack(mutated(random, body)) : mutated(random, pack(body));
      return post(bytes, { "thanos-tenant": random.pick(tenants), ...headers });
    });
    const statuses = [...answers.keys()].sort((a, b) => a - b);
    expect(refusals).toEqual([]);
    expect(statuses.filter((status) => ![204, 400, 409, 413].includes(status))).toEqual([]);
    expect(statuses).toContain(400);
  },
  120_000,
);

const call: GrpcCall = {
  metadata: new Map(),
  signal: new AbortController().signal,
} as unknown as GrpcCall;

/** What a caller may be told of its own message. */
const CALLERS_FAULT: readonly number[] = [
  GrpcStatus.INVALID_ARGUMENT,
  GrpcStatus.ALREADY_EXISTS,
  GrpcStatus.RESOURCE_EXHAUSTED,
];

test("mutated RemoteWrite messages of both forms are taken or refused as the caller's fault", async () => {
  const random = new Random(SEED + 1);
  const field = (tag: number, content: Uint8Array) => {
    const length: number[] = [];
    for (let rest = content.length; ; rest = Math.floor(rest / 128)) {
      length.push(rest < 128 ? rest : (rest % 128) | 0x80);
      if (rest < 128) break;
    }
    return Buffer.concat([Buffer.of(tag, ...length), content]);
  };
  const all = bodies("rw1/").flatMap((body) => [
    Buffer.concat([body, field(0x12, Buffer.from("t-1")), Buffer.of(0x18, 1)]),
    Buffer.concat([
      field(0x22, Buffer.concat([field(0x0a, Buffer.from("t-2")), field(0x12, body)])),
      Buffer.of(0x18, 1),
    ]),
  ]);
  const method = node.receiver?.grpcMethods[REMOTE_WRITE];
  if (method?.kind !== "unary") throw new Error("no RemoteWrite");
  const answers = await many(30 * SHARE, async () => {
    try {
      await method.handler(mutated(random, random.pick(all)), call);
      return GrpcStatus.OK;
    } catch (error) {
      if (error instanceof GrpcError) return error.code;
      throw error;
    }
  });
  const allowed = [GrpcStatus.OK, ...CALLERS_FAULT];
  expect([...answers].filter(([code]) => !allowed.includes(code))).toEqual([]);
  expect(answers.get(GrpcStatus.INVALID_ARGUMENT)).toBeGreaterThan(0);
}, 120_000);

test("mutated records are answered, or end their call as the caller's fault", async () => {
  const random = new Random(SEED + 2);
  const time = BigInt(Date.now());
  // Two rows: numbers 0 and 1 at the base time, values 1.
  const row = [0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
  const write = (tenant: string, request: Uint8Array, numbers: number[], starts: number[] = []) =>
    Buffer.concat([
      ...encodeWriteHead({
        sequence: 1,
        slot: 1,
        tenant,
        request,
        numbers: Uint32Array.from(numbers),
        rowCount: 2,
        baseTime: time,
        starts: Uint8Array.from(starts),
      }),
      Buffer.from([...row, ...row]),
    ]);
  const some = bodies("rw1/").find(({ length }) => length > 100) as Buffer;
  const messages = [
    write("t-3", some, []),
    write("", new Uint8Array(0), []),
    write("", new Uint8Array(0), [], [0, 2, 0, 0]),
    write("t-3", new Uint8Array(0), []),
    Buffer.from(encodeForget(1)),
  ];
  const method = node.receiver?.grpcMethods[SHIP_RECORDS];
  if (method?.kind !== "bidi") throw new Error("no records");
  let ended = 0;
  for (let i = 0; i < 15 * SHARE; ) {
    const requests = (async function* () {
      yield messages[0] as Uint8Array;
      for (let n = random.between(1, 20); n > 0; n--, i++) {
        yield random.unit() < 0.3 ? random.pick(messages) : mutated(random, random.pick(messages));
      }
    })();
    try {
      for await (const answer of method.handler(requests, call)) expect(answer).toBeDefined();
    } catch (error) {
      if (!(error instanceof GrpcError)) throw error;
      expect(CALLERS_FAULT).toContain(error.code);
      ended++;
    }
  }
  expect(ended).toBeGreaterThan(0);
}, 120_000);

test("nothing of it is held, and an ordinary request is taken", async () => {
  expect(writeBufferBytesInUse()).toBeLessThan(64 << 20);
  expect(kernel().memory.buffer.byteLength).toBeLessThan(1 << 30);
  // Names of tenants were mutated as well: there are as many as there may be.
  const body = writeBody([[["__name__", "after"], Date.now(), 1]]);
  expect(await post(body, { "thanos-tenant": "t-1" })).toBe(204);
  expect(await node.series("t-1")).toContain("__name__,after");
});
