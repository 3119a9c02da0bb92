/** Both clients against a @grpc/grpc-js server, which is the judge; the write path's against what no server does too. */

import http2 from "node:http2";
import net from "node:net";
import { gzipSync } from "node:zlib";
import grpc from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createGrpcClient } from "./client.ts";
import { createGrpcJsClient } from "./grpc-js-client.ts";
import { type GrpcClient, GrpcStatus } from "./service.ts";

const same = (bytes: Buffer) => bytes;
const method = (path: string, responseStream: boolean) => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

const seen = { cancelled: 0, deadline: 0 };

/** @param port 0 for any. */
async function startServer(port: number): Promise<{ server: grpc.Server; port: number }> {
  const server = new grpc.Server({ "grpc.max_receive_message_length": 64 << 20 });
  server.addService(
    {
      echo: method("/t.T/Echo", false),
      fail: method("/t.T/Fail", false),
      hang: method("/t.T/Hang", false),
      tenant: method("/t.T/Tenant", false),
      count: method("/t.T/Count", true),
      flood: method("/t.T/Flood", true),
      failLate: method("/t.T/FailLate", true),
    },
    {
      echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
        done(null, call.request),
      fail: (_: unknown, done: grpc.sendUnaryData<Buffer>) =>
        done({ code: GrpcStatus.ALREADY_EXISTS, details: "schon da: 50 % 🌀" }),
      hang: (call: grpc.ServerUnaryCall<Buffer, Buffer>) => {
        call.on("cancelled", () => {
          seen.cancelled++;
        });
      },
      tenant: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
        done(null, Buffer.from(String(call.metadata.get("tenant")[0]))),
      count: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        for (let i = 0; i < (call.request[0] ?? 0); i++) call.write(Buffer.of(i));
        call.end();
      },
      flood: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        const more = () => {
          while (!call.cancelled && call.write(Buffer.alloc(100_000)));
          if (!call.cancelled) call.once("drain", more);
        };
        call.on("cancelled", () => {
          seen.cancelled++;
        });
        more();
      },
      failLate: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        call.write(Buffer.of(1));
        call.emit("error", { code: GrpcStatus.DATA_LOSS, details: "late" });
      },
    },
  );
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, to) =>
      error === null ? resolve(to) : reject(error),
    );
  });
  return { server, port: bound };
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 2));
}

const none = { timeoutMs: 0 };
const empty = new Uint8Array(0);
const limits = { maxMessageBytes: 16 << 20, backoffBaseMs: 1, backoffMaxMs: 1 };

describe.each<[name: string, create: (address: string) => GrpcClient]>([
  ["node:http2", (address) => createGrpcClient(address, limits)],
  ["grpc-js", (address) => createGrpcJsClient(address, limits)],
])("the client over %s", (_, create) => {
  let server: grpc.Server;
  let client: GrpcClient;
  beforeAll(async () => {
    const started = await startServer(0);
    server = started.server;
    client = create(`127.0.0.1:${started.port}`);
  });
  afterAll(() => {
    client.close();
    server.forceShutdown();
  });

  test.each([0, 1, 5000, 70_000, 5 << 20])("%d bytes come back", async (size) => {
    const message = Buffer.alloc(size, 5);
    expect(message.equals(await client.unary("/t.T/Echo", message, none))).toBe(true);
  });

  test("a request in parts arrives as one message", async () => {
    const parts = [Buffer.from("ab"), empty, Buffer.alloc(9000, 99)];
    const answer = await client.unary("/t.T/Echo", parts, none);
    expect(Buffer.concat(parts).equals(answer)).toBe(true);
  });

  test("100 calls at once are kept apart", async () => {
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) => client.unary("/t.T/Echo", Buffer.alloc(i, i), none)),
    );
    expect(answers.map((answer) => answer.length)).toStrictEqual([...answers.keys()]);
  });

  test("an error status arrives with its message", async () => {
    await expect(client.unary("/t.T/Fail", empty, none)).rejects.toMatchObject({
      name: "GrpcError",
      code: GrpcStatus.ALREADY_EXISTS,
      message: expect.stringContaining("schon da: 50 % 🌀"),
    });
    await expect(client.unary("/t.T/Nope", empty, none)).rejects.toMatchObject({
      code: GrpcStatus.UNIMPLEMENTED,
    });
  });

  test("metadata is sent", async () => {
    const options = { timeoutMs: 0, metadata: { tenant: "x" } };
    expect(Buffer.from(await client.unary("/t.T/Tenant", empty, options)).toString()).toBe("x");
  });

  test("a deadline ends a call", async () => {
    await expect(client.unary("/t.T/Hang", empty, { timeoutMs: 30 })).rejects.toMatchObject({
      code: GrpcStatus.DEADLINE_EXCEEDED,
    });
  });

  test("a signal cancels a call, here and there", async () => {
    const abort = new AbortController();
    const before = seen.cancelled;
    const call = client.unary("/t.T/Hang", empty, { timeoutMs: 0, signal: abort.signal });
    setTimeout(() => abort.abort(), 20);
    await expect(call).rejects.toMatchObject({ code: GrpcStatus.CANCELLED });
    await until(() => seen.cancelled > before);
  });

  test.each([0, 1, 250])("a stream of %d messages is read to its end", async (count) => {
    let got = 0;
    for await (const message of client.serverStream("/t.T/Count", Uint8Array.of(count), none)) {
      expect(message[0]).toBe(got++);
    }
    expect(got).toBe(count);
  });

  test("a stream that fails gives its messages, then its error", async () => {
    const got: number[] = [];
    const read = async () => {
      for await (const message of client.serverStream("/t.T/FailLate", empty, none)) {
        got.push(message[0] ?? -1);
      }
    };
    await expect(read()).rejects.toMatchObject({ code: GrpcStatus.DATA_LOSS });
    expect(got).toStrictEqual([1]);
  });

  test("leaving a stream early cancels it", async () => {
    const before = seen.cancelled;
    for await (const message of client.serverStream("/t.T/Flood", empty, none)) {
      expect(message).toHaveLength(100_000);
      break;
    }
    await until(() => seen.cancelled > before);
  });

  test("a deadline ends a stream that nobody ends", async () => {
    const read = async () => {
      for await (const _message of client.serverStream("/t.T/Flood", empty, { timeoutMs: 50 }));
    };
    await expect(read()).rejects.toMatchObject({ code: GrpcStatus.DEADLINE_EXCEEDED });
  });

  test("a refused connection is UNAVAILABLE, and the client finds a server that comes later", async () => {
    const probe = await startServer(0);
    probe.server.forceShutdown();
    const late = create(`127.0.0.1:${probe.port}`);
    await expect(late.unary("/t.T/Echo", empty, none)).rejects.toMatchObject({
      code: GrpcStatus.UNAVAILABLE,
    });
    const { server: again } = await startServer(probe.port);
    let answered = false;
    while (!answered) {
      answered = await late.unary("/t.T/Echo", empty, { timeoutMs: 1000 }).then(
        () => true,
        () => false,
      );
    }
    again.forceShutdown();
    await expect(late.unary("/t.T/Hang", empty, { timeoutMs: 5000 })).rejects.toMatchObject({
      code: GrpcStatus.UNAVAILABLE,
    });
    late.close();
  });
});

test("after a failed connection calls fail at once until the back-off is over", async () => {
  let now = 0;
  const listener = net.createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => {
    listener.listen(0, "127.0.0.1", resolve);
  });
  const address = listener.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  let connections = 0;
  listener.on("connection", () => connections++);
  const options = { ...limits, backoffBaseMs: 1000, backoffMaxMs: 1000, now: () => now };
  const client = createGrpcClient(`127.0.0.1:${port}`, options);
  const failure = { code: GrpcStatus.UNAVAILABLE };
  await expect(client.unary("/x/Y", empty, none)).rejects.toMatchObject(failure);
  await expect(client.unary("/x/Y", empty, none)).rejects.toMatchObject({
    ...failure,
    message: expect.stringContaining("waiting to reconnect"),
  });
  expect(connections).toBe(1);
  now = 2000;
  await expect(client.unary("/x/Y", empty, none)).rejects.toMatchObject(failure);
  expect(connections).toBe(2);
  client.close();
  listener.close();
});

/** Answers every stream as `answer` does. */
async function withPeer(
  answer: (stream: http2.ServerHttp2Stream) => void,
  use: (client: GrpcClient) => Promise<void>,
): Promise<void> {
  const peer = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  peer.on("session", (session) => sessions.add(session));
  peer.on("stream", (stream) => {
    stream.on("error", () => {});
    answer(stream);
  });
  await new Promise<void>((resolve) => {
    peer.listen(0, "127.0.0.1", resolve);
  });
  const address = peer.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const client = createGrpcClient(`127.0.0.1:${port}`, limits);
  await use(client);
  client.close();
  for (const session of sessions) session.destroy();
  peer.close();
}

const headers = { ":status": 200, "content-type": "application/grpc" };

test.each<[what: string, code: GrpcStatus, answer: (stream: http2.ServerHttp2Stream) => void]>([
  [
    "is HTTP 503",
    GrpcStatus.UNAVAILABLE,
    (stream) => stream.respond({ ":status": 503 }, { endStream: true }),
  ],
  [
    "is HTTP 404",
    GrpcStatus.UNIMPLEMENTED,
    (stream) => stream.respond({ ":status": 404 }, { endStream: true }),
  ],
  [
    "has no status",
    GrpcStatus.UNAVAILABLE,
    (stream) => stream.respond(headers, { endStream: true }),
  ],
  [
    "is OK without a message",
    GrpcStatus.INTERNAL,
    (stream) => stream.respond({ ...headers, "grpc-status": "0" }, { endStream: true }),
  ],
  [
    "has a status that does not exist",
    GrpcStatus.UNKNOWN,
    (stream) => stream.respond({ ...headers, "grpc-status": "99" }, { endStream: true }),
  ],
  [
    "claims a message above the limit",
    GrpcStatus.RESOURCE_EXHAUSTED,
    (stream) => {
      stream.respond(headers);
      stream.write(Buffer.from([0, 0xff, 0xff, 0xff, 0xff]));
    },
  ],
  [
    "is a reset",
    GrpcStatus.UNAVAILABLE,
    (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
  ],
  [
    "is a reset to calm",
    GrpcStatus.RESOURCE_EXHAUSTED,
    (stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM),
  ],
  ["is the end of the connection", GrpcStatus.UNAVAILABLE, (stream) => stream.session?.destroy()],
])("an answer that %s becomes %d", async (_, code, answer) => {
  await withPeer(answer, async (client) => {
    await expect(client.unary("/x/Y", empty, none)).rejects.toMatchObject({ code });
  });
});

test.each<[when: string, timeoutMs: number, code: GrpcStatus]>([
  ["lets a deadline pass", 20, GrpcStatus.DEADLINE_EXCEEDED],
  ["leaves a call without a deadline waiting", 0, GrpcStatus.UNAVAILABLE],
])("a peer that %s and answers no ping loses its connection", async (_, timeoutMs, code) => {
  let closed = 0;
  const sockets: net.Socket[] = [];
  const listener = net.createServer((socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    socket.on("close", () => closed++);
    socket.resume();
  });
  await new Promise<void>((resolve) => {
    listener.listen(0, "127.0.0.1", resolve);
  });
  const { port } = listener.address() as net.AddressInfo;
  const keepalive = { keepaliveMs: 30, keepaliveTimeoutMs: 10 };
  const client = createGrpcClient(`127.0.0.1:${port}`, { ...limits, ...keepalive });
  await expect(client.unary("/x/Y", empty, { timeoutMs })).rejects.toMatchObject({ code });
  await until(() => closed === 1);
  expect(sockets).toHaveLength(1);
  client.close();
  listener.close();
});

test("a request is compressed as asked, and grpc-js takes it", async () => {
  const lengths: number[] = [];
  const compress = (message: Uint8Array) => {
    const packed = gzipSync(message);
    lengths.push(message.length, packed.length);
    return packed;
  };
  const { server, port: own } = await startServer(0);
  const client = createGrpcClient(`127.0.0.1:${own}`, {
    maxMessageBytes: 1 << 20,
    compression: { encoding: "gzip", compress },
  });
  const parts = [Buffer.alloc(50_000, "a"), Buffer.alloc(50_000, "b")];
  const answer = await client.unary("/t.T/Echo", parts, { timeoutMs: 5000 });
  expect(Buffer.concat(parts).equals(answer)).toBe(true);
  expect(lengths).toEqual([100_000, expect.any(Number)]);
  expect(lengths[1]).toBeLessThan(1000);
  client.close();
  server.forceShutdown();
});
