/**
 * The whole store gateway against the calls to a real `thanos store` over the same blocks (test/golden/wire/store.json):
 * Series frames byte for byte, label answers by their strings (Thanos adds hints to them).
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { InMemoryBucket } from "@torus/objstore";
import { decodeInfo, decodeLabelsResponse } from "@torus/protocol";
import { type GrpcCall, type GrpcMethods, GrpcStatus } from "@torus/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { storeMethods } from "../store-service.ts";
import { BucketGateway } from "./gateway.ts";

type GoldenCall = {
  name: string;
  method: string;
  request_hex: string;
  responses: { hex: string }[] | null;
  grpc_code_number?: string;
};

const GOLDEN = path.join(import.meta.dirname, "../../../../test/golden");
const { calls } = JSON.parse(readFileSync(path.join(GOLDEN, "wire/store.json"), "utf8")) as {
  calls: GoldenCall[];
};

/** Where we answer otherwise, and why. */
const DIFFERENCES: Readonly<Record<string, string>> = {
  "no-matchers": "INVALID_ARGUMENT as from receive and query; Thanos' store answers with no series",
  "only-external-label-matcher": "likewise",
  "label-values/empty-label":
    "INVALID_ARGUMENT as from receive; Thanos' store answers one empty value",
};

const scratch = mkdtempSync(path.join(tmpdir(), "torus-store-wire-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const call: GrpcCall = { metadata: new Map(), signal: new AbortController().signal, peer: "test" };
let methods: GrpcMethods;

beforeAll(async () => {
  const bucket = new InMemoryBucket();
  const root = path.join(GOLDEN, "tsdb/downsample");
  for (const name of readdirSync(root)) {
    if (name.endsWith(".json") || name.startsWith("long")) continue;
    for (const file of readdirSync(path.join(root, name), { recursive: true, encoding: "utf8" })) {
      if (file === "chunks") continue;
      await bucket.put(`${name.slice(-26)}/${file}`, readFileSync(path.join(root, name, file)));
    }
  }
  const gateway = new BucketGateway(bucket, {
    ignoreDeletionMarksDelayMs: 0,
    consistencyDelayMs: 0,
    timeRange: () => ({ mint: Number.MIN_SAFE_INTEGER, maxt: Number.MAX_SAFE_INTEGER }),
    concurrency: 4,
    dataDir: scratch,
    pageCacheBytes: 16 << 20,
    headerCacheBytes: 16 << 20,
    fetchConcurrency: 4,
    fetchLimitBytes: 0,
    blockSyncConcurrency: 4,
    now: Date.now,
    onEvent: () => undefined,
  });
  await gateway.sync(call.signal);
  methods = storeMethods({
    componentType: "store",
    sources: (wanted) => gateway.blocksFor(wanted),
    ready: () => true,
    openEnded: false,
  });
});

async function ask(method: string, requestHex: string): Promise<string[]> {
  const found = methods[method];
  if (found === undefined) throw new Error(`no method ${method}`);
  const request = Buffer.from(requestHex, "hex");
  const out: string[] = [];
  if (found.kind === "unary") {
    out.push(Buffer.from(await found.handler(request, call)).toString("hex"));
  } else if (found.kind === "serverStream") {
    for await (const message of found.handler(request, call)) {
      out.push(Buffer.from(message).toString("hex"));
    }
  }
  return out;
}

const served = calls.filter(({ method }) => method.startsWith("/thanos.Store/"));
const same = served.filter(({ name }) => DIFFERENCES[name] === undefined);

describe("as Thanos' store answers", () => {
  test.each(same.map((one) => [one.name, one] as const))("%s", async (_, golden) => {
    if (golden.grpc_code_number !== undefined) {
      await expect(ask(golden.method, golden.request_hex)).rejects.toMatchObject({
        code: Number(golden.grpc_code_number),
      });
      return;
    }
    const answer = await ask(golden.method, golden.request_hex);
    const expected = (golden.responses ?? []).map(({ hex }) => hex);
    if (golden.method.endsWith("/Series")) {
      expect(answer).toEqual(expected);
      return;
    }
    const strings = (hex: string) => decodeLabelsResponse(Buffer.from(hex, "hex")).strings;
    expect(answer.map(strings)).toEqual(expected.map(strings));
  });

  test("info", async () => {
    const golden = calls.find(({ name }) => name === "info") as GoldenCall;
    const [hex = ""] = await ask(golden.method, golden.request_hex);
    const expected = decodeInfo(Buffer.from(golden.responses?.[0]?.hex ?? "", "hex"));
    const found = decodeInfo(Buffer.from(hex, "hex"));
    expect(found.componentType).toBe(expected.componentType);
    expect(found.labelSets).toEqual(expected.labelSets);
    expect(found.store).toMatchObject({
      minTime: expected.store?.minTime,
      supportsSharding: true,
      supportsWithoutReplicaLabels: true,
    });
  });
});

test.each(["no-matchers", "label-values/empty-label"])(
  "%s is an invalid argument",
  async (name) => {
    const golden = calls.find((one) => one.name === name) as GoldenCall;
    await expect(ask(golden.method, golden.request_hex)).rejects.toMatchObject({
      code: GrpcStatus.INVALID_ARGUMENT,
    });
  },
);
