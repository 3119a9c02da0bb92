/**
 * Unary calls and streams, client and server in one process: ours on both sides against @grpc/grpc-js on both.
 * Measured where eight programs shared two cores, so only the ratio counts.
 */

import grpc from "@grpc/grpc-js";
import { Registry } from "prom-client";
import { afterAll, bench, describe } from "vitest";
import { createLogger } from "../log.ts";
import { createGrpcClient } from "./client.ts";
import { createGrpcJsClient } from "./grpc-js-client.ts";
import { GrpcServer } from "./server.ts";
import type { GrpcClient } from "./service.ts";

const MAX = 64 << 20;
const STREAM_MESSAGES = 32;
const streamed = Buffer.alloc(64 * 1024, 1);

const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const own = new GrpcServer({ log, metrics: new Registry(), maxMessageBytes: MAX });
own.add({
  "/t.T/Take": { kind: "unary", handler: () => new Uint8Array(0) },
  "/t.T/Stream": {
    kind: "serverStream",
    async *handler() {
      for (let i = 0; i < STREAM_MESSAGES; i++) yield streamed;
    },
  },
});
const ownClient = createGrpcClient(await own.listen("127.0.0.1:0"), { maxMessageBytes: MAX });

const mixed = createGrpcJsClient(ownClient.address, { maxMessageBytes: MAX });

const same = (bytes: Buffer) => bytes;
const codec = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
const peer = new grpc.Server({ "grpc.max_receive_message_length": MAX });
peer.addService(
  {
    take: { path: "/t.T/Take", requestStream: false, responseStream: false, ...codec },
    stream: { path: "/t.T/Stream", requestStream: false, responseStream: true, ...codec },
  },
  {
    take: (_: unknown, done: grpc.sendUnaryData<Buffer>) => done(null, Buffer.alloc(0)),
    stream: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      let sent = 0;
      const more = () => {
        while (sent++ < STREAM_MESSAGES - 1) {
          if (!call.write(streamed)) return void call.once("drain", more);
        }
        call.end(streamed);
      };
      more();
    },
  },
);
const port = await new Promise<number>((resolve, reject) => {
  peer.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error === null ? resolve(bound) : reject(error),
  );
});
const peerClient = createGrpcJsClient(`127.0.0.1:${port}`, { maxMessageBytes: MAX });

afterAll(async () => {
  ownClient.close();
  peerClient.close();
  mixed.close();
  peer.forceShutdown();
  await own.stop(0);
});

async function drain(client: GrpcClient): Promise<void> {
  for await (const _message of client.serverStream("/t.T/Stream", new Uint8Array(0), {
    timeoutMs: 0,
  }));
}

describe.each([1000, 55_000, 565_000])("a unary call of %d bytes", (size) => {
  const body = Buffer.alloc(size, 1);
  for (const [name, client] of [
    ["ours", ownClient],
    ["grpc-js", peerClient],
  ] as const) {
    bench(name, async () => {
      await client.unary("/t.T/Take", body, { timeoutMs: 5000 });
    });
  }
});

describe("a stream of 32 messages of 64 KB", () => {
  bench("ours", () => drain(ownClient));
  bench("our server, grpc-js reading", () => drain(mixed));
  bench("grpc-js", () => drain(peerClient));
});
