/** @grpc/grpc-js, which shares no code with the server, is the judge of it. */

import { readFileSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import { gzipSync } from "node:zlib";
import grpc from "@grpc/grpc-js";
import { decodeSnappyFrames, encodeSnappyFrames } from "@torus/encoding";
import { Registry } from "prom-client";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createLogger } from "../log.ts";
import { Probe } from "../probe.ts";
import { createGrpcClient } from "./client.ts";
import { createGrpcJsClient } from "./grpc-js-client.ts";
import { healthMethods } from "./health.ts";
import { GrpcServer } from "./server.ts";
import { type GrpcClient, GrpcError, type GrpcMethods, GrpcStatus } from "./service.ts";

const MAX = 8 << 20;
const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });

const seen = { hanging: 0, aborted: 0, pulled: 0, left: 0 };
const methods: GrpcMethods = {
  "/test.Echo/Unary": { kind: "unary", handler: (request) => request },
  "/test.Echo/Fail": {
    kind: "unary",
    handler: () => {
      throw new GrpcError(GrpcStatus.FAILED_PRECONDITION, "100% nicht möglich\n🌀");
    },
  },
  "/test.Echo/Bug": {
    kind: "unary",
    handler: async () => {
      throw new TypeError("a bug");
    },
  },
  "/test.Echo/Metadata": {
    kind: "unary",
    handler: (_, call) => Buffer.from(call.metadata.get("thanos-tenant") ?? "none"),
  },
  "/test.Echo/Hang": {
    kind: "unary",
    handler: (_, call) =>
      new Promise((resolve) => {
        seen.hanging++;
        call.signal.addEventListener("abort", () => {
          seen.aborted++;
          resolve(new Uint8Array(0));
        });
      }),
  },
  "/test.Echo/Count": {
    kind: "serverStream",
    async *handler(request) {
      for (let i = 0; i < (request[0] ?? 0); i++) yield Uint8Array.of(i);
    },
  },
  "/test.Echo/Flood": {
    kind: "serverStream",
    async *handler() {
      const message = new Uint8Array(1 << 20);
      try {
        for (;;) {
          seen.pulled++;
          yield message;
        }
      } finally {
        seen.left++;
      }
    },
  },
  "/test.Echo/FailLate": {
    kind: "serverStream",
    async *handler() {
      yield Uint8Array.of(1);
      throw new GrpcError(GrpcStatus.ABORTED, "after one message");
    },
  },
};

const metrics = new Registry();
const probe = new Probe(metrics);
let starting: string | undefined;
const server = new GrpcServer({
  log,
  metrics,
  maxMessageBytes: MAX,
  snappy: decodeSnappyFrames,
  unavailable: () => starting,
});
let address: string;
let client: GrpcClient;
const none = { timeoutMs: 0 };

beforeAll(async () => {
  server.add(methods);
  server.addAlways(healthMethods(probe, () => server.services));
  address = await server.listen("127.0.0.1:0");
  client = createGrpcJsClient(address, { maxMessageBytes: 64 << 20 });
});
afterAll(async () => {
  client.close();
  await server.stop(0);
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

test.each([0, 1, 100, 4096, 65_537, 5 << 20])("a message of %d bytes comes back", async (size) => {
  const message = Buffer.alloc(size, 7);
  const answer = await client.unary("/test.Echo/Unary", message, none);
  expect(message.equals(answer)).toBe(true);
});

test("many calls share a connection without mixing", async () => {
  const sizes = Array.from({ length: 200 }, (_, i) => i * 331);
  const answers = await Promise.all(
    sizes.map((size, i) => client.unary("/test.Echo/Unary", Buffer.alloc(size, i), none)),
  );
  expect(
    answers.map((answer, i) => answer.length === sizes[i] && (answer[0] ?? i) === i % 256),
  ).not.toContain(false);
});

test("a request compressed with gzip is read", async () => {
  const raw = new grpc.Client(address, grpc.credentials.createInsecure(), {
    "grpc.default_compression_algorithm": 2,
  });
  const message = Buffer.alloc(100_000, 3);
  const same = (bytes: Buffer) => bytes;
  const answer = await new Promise<Buffer | undefined>((resolve, reject) => {
    raw.makeUnaryRequest("/test.Echo/Unary", same, same, message, (error, value) =>
      error === null ? resolve(value) : reject(error),
    );
  });
  raw.close();
  expect(answer?.equals(message)).toBe(true);
});

test("an error's status and message arrive whole", async () => {
  await expect(client.unary("/test.Echo/Fail", new Uint8Array(0), none)).rejects.toMatchObject({
    code: GrpcStatus.FAILED_PRECONDITION,
    message: `${address}: 100% nicht möglich\n🌀`,
  });
});

test("an unknown error is INTERNAL, an unknown method UNIMPLEMENTED", async () => {
  await expect(client.unary("/test.Echo/Bug", new Uint8Array(0), none)).rejects.toMatchObject({
    code: GrpcStatus.INTERNAL,
  });
  await expect(client.unary("/test.Echo/Nope", new Uint8Array(0), none)).rejects.toMatchObject({
    code: GrpcStatus.UNIMPLEMENTED,
  });
});

test("metadata reaches the handler", async () => {
  const options = { timeoutMs: 0, metadata: { "thanos-tenant": "a" } };
  const answer = await client.unary("/test.Echo/Metadata", new Uint8Array(0), options);
  expect(Buffer.from(answer).toString()).toBe("a");
});

test("a deadline ends the call on both sides", async () => {
  const before = seen.aborted;
  await expect(
    client.unary("/test.Echo/Hang", new Uint8Array(0), { timeoutMs: 30 }),
  ).rejects.toMatchObject({ code: GrpcStatus.DEADLINE_EXCEEDED });
  await until(() => seen.aborted === before + 1);
});

test("a cancelled call aborts its handler", async () => {
  const before = seen.aborted;
  const abort = new AbortController();
  const call = client.unary("/test.Echo/Hang", new Uint8Array(0), {
    timeoutMs: 0,
    signal: abort.signal,
  });
  setTimeout(() => abort.abort(), 20);
  await expect(call).rejects.toMatchObject({ code: GrpcStatus.CANCELLED });
  await until(() => seen.aborted === before + 1);
});

test.each([0, 1, 200])("a stream of %d messages ends with OK", async (count) => {
  const got: number[] = [];
  for await (const message of client.serverStream("/test.Echo/Count", Uint8Array.of(count), none)) {
    got.push(message[0] ?? -1);
  }
  expect(got).toStrictEqual(Array.from({ length: count }, (_, i) => i));
});

test("a stream that fails late delivers what came before", async () => {
  const got: number[] = [];
  const read = async () => {
    for await (const message of client.serverStream(
      "/test.Echo/FailLate",
      new Uint8Array(0),
      none,
    )) {
      got.push(message[0] ?? -1);
    }
  };
  await expect(read()).rejects.toMatchObject({ code: GrpcStatus.ABORTED });
  expect(got).toStrictEqual([1]);
});

test("a reader that stops reading stops the handler, and one that leaves ends it", async () => {
  const stream = client.serverStream("/test.Echo/Flood", new Uint8Array(0), none);
  const reader = stream[Symbol.asyncIterator]();
  await reader.next();
  let last = -1;
  // Until a whole turn of a tenth of a second brings no further pull.
  while (last !== seen.pulled) {
    last = seen.pulled;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(seen.pulled).toBeLessThan(64);
  await reader.return?.();
  await until(() => seen.left === 1);
});

test("a message above the limit is refused with RESOURCE_EXHAUSTED", async () => {
  await expect(
    client.unary("/test.Echo/Unary", new Uint8Array(MAX + 1), none),
  ).rejects.toMatchObject({ code: GrpcStatus.RESOURCE_EXHAUSTED });
});

test("while the component starts, calls are UNAVAILABLE and health answers", async () => {
  starting = "replaying";
  await expect(client.unary("/test.Echo/Unary", new Uint8Array(0), none)).rejects.toMatchObject({
    code: GrpcStatus.UNAVAILABLE,
    message: `${address}: replaying`,
  });
  const check = "/grpc.health.v1.Health/Check";
  expect([...(await client.unary(check, new Uint8Array(0), none))]).toStrictEqual([8, 2]);
  starting = undefined;
  const watch = client.serverStream("/grpc.health.v1.Health/Watch", new Uint8Array(0), none);
  const statuses = watch[Symbol.asyncIterator]();
  expect([...(await statuses.next()).value]).toStrictEqual([8, 2]);
  probe.ready();
  expect([...(await statuses.next()).value]).toStrictEqual([8, 1]);
  await statuses.return?.();
  const service = Buffer.concat([Buffer.from([0x0a, 9]), Buffer.from("test.Echo")]);
  expect([...(await client.unary(check, service, none))]).toStrictEqual([8, 1]);
});

test("an unknown encoding is UNIMPLEMENTED, with those that are taken", async () => {
  const session = http2.connect(`http://${address}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/test.Echo/Unary",
    "content-type": "application/grpc",
    "grpc-encoding": "br",
  });
  stream.end(Buffer.from([1, 0, 0, 0, 1, 0]));
  const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => {
    stream.once("response", resolve);
  });
  expect(headers["grpc-status"]).toBe("12");
  expect(headers["grpc-accept-encoding"]).toContain("gzip");
  session.destroy();
});

test.each<[what: string, body: number[], status: string]>([
  ["a flag that does not exist", [9, 0, 0, 0, 0], "13"],
  ["a length that nothing follows", [0, 0, 0, 1, 0, 1, 2], "13"],
  ["a length above the limit", [0, 0xff, 0xff, 0xff, 0xff], "8"],
  ["half a prefix", [0, 0], "13"],
  ["nothing", [], "13"],
  ["two messages", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "13"],
  ["compressed without an encoding", [1, 0, 0, 0, 1, 0], "13"],
])("a body with %s gets a status", async (_, body, status) => {
  const session = http2.connect(`http://${address}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/test.Echo/Unary",
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.end(Buffer.from(body));
  const headers = await new Promise<http2.IncomingHttpHeaders>((resolve) => {
    stream.once("response", resolve);
  });
  expect(headers["grpc-status"]).toBe(status);
  session.destroy();
});

test("a peer that speaks no HTTP/2, or hangs up inside a frame, harms nobody", async () => {
  const port = Number(address.split(":")[1]);
  const junk = [
    Buffer.from("GET / HTTP/1.1\r\n\r\n"),
    Buffer.alloc(5000, 0xff),
    Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Buffer.concat([Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Buffer.alloc(64, 0x41)]),
  ];
  for (const bytes of junk) {
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(bytes, () => socket.destroy());
    await new Promise((resolve) => socket.once("close", resolve));
  }
  expect([...(await client.unary("/test.Echo/Unary", Uint8Array.of(1), none))]).toStrictEqual([1]);
});

test("calls are counted by Go's names", async () => {
  const text = await metrics.metrics();
  expect(text).toContain(
    'grpc_server_handled_total{grpc_method="Fail",grpc_service="test.Echo",grpc_type="unary",grpc_code="FailedPrecondition"} 1',
  );
});

test("a stop waits for calls under way, and takes no new ones", async () => {
  let release = (): void => {};
  const held = new GrpcServer({ log, metrics: new Registry(), maxMessageBytes: MAX });
  held.add({
    "/test.Echo/Held": {
      kind: "unary",
      handler: () =>
        new Promise((resolve) => {
          release = () => resolve(Uint8Array.of(9));
        }),
    },
  });
  const other = createGrpcJsClient(await held.listen("127.0.0.1:0"), { maxMessageBytes: MAX });
  const call = other.unary("/test.Echo/Held", new Uint8Array(0), none);
  const idle = release;
  await until(() => release !== idle);
  const stopped = held.stop(60_000);
  release();
  expect([...(await call)]).toStrictEqual([9]);
  await stopped;
  await expect(other.unary("/test.Echo/Held", new Uint8Array(0), none)).rejects.toMatchObject({
    code: GrpcStatus.UNAVAILABLE,
  });
  other.close();
});

test("after the grace period calls end with UNAVAILABLE", async () => {
  const held = new GrpcServer({ log, metrics: new Registry(), maxMessageBytes: MAX });
  let calls = 0;
  held.add({
    "/test.Echo/Forever": {
      kind: "unary",
      handler: () => {
        calls++;
        return new Promise(() => {});
      },
    },
  });
  const other = createGrpcJsClient(await held.listen("127.0.0.1:0"), { maxMessageBytes: MAX });
  const call = other.unary("/test.Echo/Forever", new Uint8Array(0), none);
  call.catch(() => {});
  await until(() => calls === 1);
  await held.stop(10);
  await expect(call).rejects.toMatchObject({ code: GrpcStatus.UNAVAILABLE });
  other.close();
});

/** One raw call whose body is one message with the compressed flag. */
async function rawCall(
  encoding: string,
  message: Uint8Array,
): Promise<[status: string, body: Buffer]> {
  const session = http2.connect(`http://${address}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/test.Echo/Unary",
    "content-type": "application/grpc+proto",
    "grpc-encoding": encoding,
  });
  const prefix = Buffer.alloc(5);
  prefix[0] = 1;
  prefix.writeUInt32BE(message.length, 1);
  stream.end(Buffer.concat([prefix, message]));
  let status = "";
  const take = (headers: http2.IncomingHttpHeaders) => {
    status = String(headers["grpc-status"] ?? status);
  };
  stream.on("response", take);
  stream.on("trailers", take);
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  session.close();
  return [status, Buffer.concat(chunks)];
}

test("a request in framed snappy, as Thanos' routers send it, is read", async () => {
  const message = Buffer.from("receive".repeat(30_000));
  const [status, body] = await rawCall("snappy", encodeSnappyFrames(message));
  expect(status).toBe("0");
  expect(body.subarray(5).equals(message)).toBe(true);
});

test.each<[what: string, encoding: string, message: Uint8Array]>([
  ["snappy", "snappy", encodeSnappyFrames(new Uint8Array(MAX + 1))],
  ["gzip", "gzip", gzipSync(new Uint8Array(MAX + 1))],
])("a %s bomb is refused at the limit, not unpacked", async (_, encoding, message) => {
  expect(message.length).toBeLessThan(MAX / 10);
  const [status] = await rawCall(encoding, message);
  expect(["8", "13"]).toContain(status);
});

test("malformed compression is INTERNAL", async () => {
  expect((await rawCall("gzip", Buffer.from("no gzip")))[0]).toBe("13");
  expect((await rawCall("snappy", Buffer.from("no snappy")))[0]).toBe("13");
});

test("the write path's client and this server carry parts, megabytes and streams between them", async () => {
  const own = createGrpcClient(address, { maxMessageBytes: MAX });
  const parts = [Buffer.alloc(1 << 20, 1), Buffer.alloc(3, 2), Buffer.alloc(3 << 20, 3)];
  const answer = await own.unary("/test.Echo/Unary", parts, none);
  expect(Buffer.concat(parts).equals(answer)).toBe(true);
  let count = 0;
  for await (const _message of own.serverStream("/test.Echo/Count", Uint8Array.of(100), none)) {
    count++;
  }
  expect(count).toBe(100);
  own.close();
});

test("a peer that opens and resets streams without end is served, and so are the others", async () => {
  const session = http2.connect(`http://${address}`);
  session.on("error", () => {});
  for (let i = 0; i < 3000 && !session.destroyed; i++) {
    const stream = session.request({
      ":method": "POST",
      ":path": "/test.Echo/Hang",
      "content-type": "application/grpc",
    });
    stream.on("error", () => {});
    stream.write(Buffer.from([0, 0, 0, 0, 0]));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  expect([...(await client.unary("/test.Echo/Unary", Uint8Array.of(4), none))]).toStrictEqual([4]);
  session.destroy();
});

test("over TLS both sides check certificates", async () => {
  const read = (name: string) => readFileSync(path.join(import.meta.dirname, "testdata", name));
  const [cert, key] = [read("cert.pem"), read("key.pem")];
  const secure = new GrpcServer({
    log,
    metrics: new Registry(),
    maxMessageBytes: MAX,
    tls: { cert, key, clientCa: cert },
  });
  secure.add(methods);
  const at = await secure.listen("127.0.0.1:0");
  const call = (one: GrpcClient) =>
    one.unary("/test.Echo/Unary", Uint8Array.of(1), { timeoutMs: 5000 }).finally(() => one.close());
  const limits = { maxMessageBytes: MAX };
  expect([
    ...(await call(createGrpcClient(at, { ...limits, tls: { ca: cert, cert, key } }))),
    ...(await call(
      createGrpcJsClient(at, {
        ...limits,
        credentials: grpc.credentials.createSsl(cert, key, cert),
      }),
    )),
  ]).toStrictEqual([1, 1]);
  const refused = { code: GrpcStatus.UNAVAILABLE };
  await expect(call(createGrpcClient(at, { ...limits, tls: { ca: cert } }))).rejects.toMatchObject(
    refused,
  );
  await expect(call(createGrpcClient(at, { ...limits, tls: { cert, key } }))).rejects.toMatchObject(
    refused,
  );
  await secure.stop(0);
});

test("requests of all calls together are held up to a limit, which is free again when they end", async () => {
  const small = new GrpcServer({
    log,
    metrics: new Registry(),
    maxMessageBytes: MAX,
    maxHeldBytes: 2 << 20,
  });
  small.add(methods);
  const other = createGrpcJsClient(await small.listen("127.0.0.1:0"), { maxMessageBytes: MAX });
  const abort = new AbortController();
  const before = seen.hanging;
  const waiting = other.unary("/test.Echo/Hang", new Uint8Array(1.5 * 2 ** 20), {
    timeoutMs: 0,
    signal: abort.signal,
  });
  waiting.catch(() => {});
  await until(() => seen.hanging > before);
  const message = new Uint8Array(1 << 20);
  await expect(other.unary("/test.Echo/Unary", message, none)).rejects.toMatchObject({
    code: GrpcStatus.RESOURCE_EXHAUSTED,
  });
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ code: GrpcStatus.CANCELLED });
  let answer: Uint8Array | undefined;
  // The server learns of the cancelled call a moment after its client.
  while (answer === undefined) {
    answer = await other.unary("/test.Echo/Unary", message, none).catch(() => undefined);
  }
  expect(answer).toHaveLength(message.length);
  other.close();
  await small.stop(0);
});
