/** Bytes from the wire that are nearly right: whatever comes, the answer is an expected error, and nothing is kept. */

import { readFileSync } from "node:fs";
import path from "node:path";
import { snappyEncode } from "@torus/encoding";
import { Hashring, parseHashrings } from "@torus/hashring";
import {
  BodyTooLargeError,
  entryHash,
  outline,
  SnappyCorruptError,
  TooManySeriesError,
  WriteRequestMalformedError,
  writeBufferBytesInUse,
} from "@torus/kernels";
import fc from "fast-check";
import { expect, test } from "vitest";
import { CAUSES } from "./cause.ts";
import { decodeBody, withDecodedRequest, withRawRequest, withSnappyRequest } from "./decode.ts";
import { convertRemoteWrite2, RemoteWrite2Error } from "./remote-write-2.ts";
import { forwardedRequest, routeRequest } from "./route.ts";
import { decodeVerdicts, encodeVerdicts } from "./verdicts.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/wire");
type RwCase = { name: string; hex: string };
const { cases } = JSON.parse(readFileSync(path.join(GOLDEN, "rw.json"), "utf8")) as {
  cases: RwCase[];
};
const bodies = (version: string) =>
  cases.filter((each) => each.name.startsWith(version)).map((each) => Buffer.from(each.hex, "hex"));

/** A golden body with some bytes changed, and cut somewhere. */
const mutated = (version: string) =>
  fc
    .record({
      body: fc.constantFrom(...bodies(version)),
      changes: fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 6 }),
      cut: fc.nat(),
    })
    .map(({ body, changes, cut }) => {
      const bytes = Buffer.from(body);
      for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
      return cut % 3 === 0 ? bytes.subarray(0, cut % (bytes.length + 1)) : bytes;
    });

const EXPECTED = [
  SnappyCorruptError,
  WriteRequestMalformedError,
  BodyTooLargeError,
  TooManySeriesError,
  RemoteWrite2Error,
];

function expectExpected(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!EXPECTED.some((each) => error instanceof each)) throw error;
  }
}

const ring = new Hashring(parseHashrings('[{"endpoints":["a:1","b:1","c:1"]}]'), {
  algorithm: "ketama",
  replicationFactor: 2,
});
const tenant = Buffer.from("t");

const withVersion2: typeof withSnappyRequest = (chunks, maxBytes, name, use) => {
  const { body } = convertRemoteWrite2(decodeBody(chunks, "snappy", maxBytes), maxBytes);
  return withDecodedRequest(body, name, use);
};
const RUNS = { numRuns: 5000 };

test.each(["rw1/", "rw2/"])(
  "mutated bodies %s are routed or refused, and leave no memory behind",
  (version) => {
    const decode = version === "rw1/" ? withSnappyRequest : withVersion2;
    const use = (bytes: Uint8Array) =>
      expectExpected(() =>
        decode([snappyEncode(bytes)], 1 << 20, tenant, (request) => {
          const placement = ring.placement("t");
          const all = () =>
            Int32Array.from({ length: request.count }, (_, index) =>
              placement.section(...entryHash(request, index, tenant)),
            );
          const { shares } = routeRequest(
            request,
            placement,
            { from: 0, to: 2 },
            { flags: ~0, all },
          );
          for (const share of shares) {
            const forwarded = forwardedRequest(request, share.series, tenant, 2);
            // What is forwarded is again a request of the same series.
            withRawRequest(forwarded, (again) => {
              expect(again.walk(tenant)).toBe(share.series.length);
              expect(outline(again)).toMatchObject({ tenant: "t", replica: 2 });
            });
          }
        }),
      );
    // The first request allocates what is kept for the next ones.
    for (const body of bodies(version)) use(body);
    const before = writeBufferBytesInUse();
    fc.assert(fc.property(mutated(version), use), RUNS);
    expect(writeBufferBytesInUse()).toBeLessThanOrEqual(before * 2);
  },
);

test("mutated snappy is decoded or refused", () => {
  const compressed = bodies("rw1/").map(snappyEncode);
  fc.assert(
    fc.property(
      fc.constantFrom(...compressed),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      }),
      (block, changes) => {
        const bytes = Buffer.from(block);
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        expectExpected(() =>
          withSnappyRequest([bytes], 1 << 20, tenant, (request) =>
            expect(request.bodyLength).toBeLessThanOrEqual(1 << 20),
          ),
        );
      },
    ),
    RUNS,
  );
});

test("verdicts come back as they went, and anything else is no verdict", () => {
  const anyCauses = fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 999 }),
      fc.integer({ min: 1, max: CAUSES - 1 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
    ),
  );
  fc.assert(
    fc.property(anyCauses, (causes) => {
      const typed = causes as Parameters<typeof encodeVerdicts>[0];
      expect(decodeVerdicts(encodeVerdicts(typed), 1000)).toEqual(causes);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
      const decoded = decodeVerdicts(bytes, 10) ?? [];
      expect(decoded.every(([index]) => index < 10)).toBe(true);
    }),
  );
});
