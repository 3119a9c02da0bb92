/** Calls in which both sides send as they like: our client against our server. */

import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createLogger } from "../log.ts";
import { createGrpcClient } from "./client.ts";
import { GrpcServer } from "./server.ts";
import { type GrpcError, GrpcStatus } from "./service.ts";

const quiet = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });

test("a call that stays open carries messages both ways, learns of a server's end, and ends well", async () => {
  const server = new GrpcServer({ log: quiet, metrics: new Registry(), maxMessageBytes: 1 << 20 });
  let left = 0;
  server.add({
    "/t.S/Echo": {
      kind: "bidi",
      async *handler(requests) {
        try {
          yield Buffer.from("hello");
          for await (const request of requests) yield Buffer.concat([request, Buffer.from("!")]);
        } finally {
          left++;
        }
      },
    },
  });
  const address = await server.listen("127.0.0.1:0");
  const client = createGrpcClient(address, { maxMessageBytes: 1 << 20 });
  const got: string[] = [];
  let goAway = false;
  const ended = new Promise<GrpcError | undefined>((resolve) => {
    const call = client.duplex(
      "/t.S/Echo",
      {
        onMessage: (message) => {
          got.push(Buffer.from(message).toString());
          if (got.length === 3) void server.stop(5000);
        },
        onGoAway: () => {
          goAway = true;
          call.end();
        },
        onEnd: resolve,
      },
      { timeoutMs: 0 },
    );
    call.write([Buffer.from("a"), Buffer.from("b")]);
    call.write([Buffer.from("c")]);
  });
  expect(await ended).toBeUndefined();
  expect(got).toEqual(["hello", "ab!", "c!"]);
  expect([goAway, left]).toEqual([true, 1]);
  client.close();
});

test("a method that a server does not have ends an open call with UNIMPLEMENTED", async () => {
  const server = new GrpcServer({ log: quiet, metrics: new Registry(), maxMessageBytes: 1 << 20 });
  const address = await server.listen("127.0.0.1:0");
  const client = createGrpcClient(address, { maxMessageBytes: 1 << 20 });
  const error = await new Promise<GrpcError | undefined>((resolve) => {
    const events = { onMessage: () => {}, onGoAway: () => {}, onEnd: resolve };
    client.duplex("/t.S/None", events, { timeoutMs: 0 }).write([Buffer.from("a")]);
  });
  expect(error?.code).toBe(GrpcStatus.UNIMPLEMENTED);
  client.close();
  await server.stop(0);
});
