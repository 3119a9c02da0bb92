import { connect } from "node:http2";
import { setTimeout as sleep } from "node:timers/promises";
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createLogger } from "../log.ts";
import { createGrpcClient } from "./client.ts";
import { framePrefix } from "./framing.ts";
import { MessageBuffers } from "./message-buffers.ts";
import { GrpcServer } from "./server.ts";
import type { UnaryHandler } from "./service.ts";

const KIB = 1 << 10;

test("a buffer that was given back is used again for what fits into it", () => {
  const buffers = new MessageBuffers();
  const first = buffers.take(500 * KIB);
  expect(first.length).toBeGreaterThanOrEqual(500 * KIB);
  buffers.give(first);
  expect(buffers.take(first.length + 1)).not.toBe(first);
  expect(buffers.take(400 * KIB)).toBe(first);
  expect(buffers.take(400 * KIB)).not.toBe(first);
});

test("what is kept is bounded, small and large ones are not kept", () => {
  const buffers = new MessageBuffers();
  buffers.give(new Uint8Array(KIB));
  buffers.give(new Uint8Array(5000 * KIB));
  expect(buffers.freeBytes).toBe(0);
  for (let i = 0; i < 100; i++) buffers.give(new Uint8Array(1000 * KIB));
  expect(buffers.freeBytes).toBe(16_000 * KIB);
  for (let i = 0; i < 100; i++) buffers.take(1000 * KIB);
  expect(buffers.freeBytes).toBe(0);
});

const SIZE = 300 * KIB;

async function serve(handler: UnaryHandler): Promise<{ server: GrpcServer; address: string }> {
  const server = new GrpcServer({
    log: createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => undefined }),
    metrics: new Registry(),
    maxMessageBytes: 4 << 20,
  });
  server.add({ "/t.T/Call": { kind: "unary", handler } });
  return { server, address: await server.listen("127.0.0.1:0") };
}

test("requests keep their bytes as long as their handlers run, whatever became of their calls", async () => {
  let broken = 0;
  const { server, address } = await serve(async (request) => {
    for (let i = 0; i < 3; i++) {
      if (!request.every((byte) => byte === request[0])) broken++;
      await sleep((request[0] as number) % 4);
    }
    if ((request[0] as number) % 5 === 0) throw new Error("refused");
    return Uint8Array.from(request);
  });
  const client = createGrpcClient(address, { maxMessageBytes: 4 << 20 });
  const lanes = Array.from({ length: 8 }, async (_, lane) => {
    for (let i = 0; i < 12; i++) {
      const byte = (lane * 12 + i) % 251;
      const request = Buffer.alloc((70 + 40 * ((lane + i) % 7)) * KIB, byte);
      // Some callers leave before the handler is done.
      const timeoutMs = i % 6 === 5 ? 2 : 10_000;
      const answer = client.unary("/t.T/Call", request, { timeoutMs });
      const got = await answer.catch((error: unknown) => error);
      if (byte % 5 === 0 || timeoutMs === 2) continue;
      expect(got).toBeInstanceOf(Uint8Array);
      expect(request.equals(got as Uint8Array)).toBe(true);
    }
  });
  await Promise.all(lanes);
  expect(broken).toBe(0);
  client.close();
  await server.stop(1000);
}, 30_000);

test("an answer that lies in its request is not overwritten while its caller is slow to read", async () => {
  let calls = 0;
  const { server, address } = await serve((request) => {
    calls++;
    return request[0] === 1 ? request : new Uint8Array(0);
  });
  const session = connect(`http://${address}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/t.T/Call",
    "content-type": "application/grpc",
    te: "trailers",
  });
  stream.end(Buffer.concat([framePrefix(SIZE), Buffer.alloc(SIZE, 1)]));
  while (calls === 0) await sleep(5);
  // The stream's window takes 64 KiB of the answer; the rest waits in the server for somebody who reads.
  const client = createGrpcClient(address, { maxMessageBytes: 4 << 20 });
  const other = Buffer.alloc(SIZE, 2);
  for (let i = 0; i < 3; i++) await client.unary("/t.T/Call", other, { timeoutMs: 10_000 });
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).subarray(5).equals(Buffer.alloc(SIZE, 1))).toBe(true);
  client.close();
  session.close();
  await server.stop(1000);
});
