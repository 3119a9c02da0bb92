import { readFileSync } from "node:fs";
import path from "node:path";
import { snappyDecode } from "@torus/encoding";
import { MatcherRegexError } from "@torus/model";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeExemplars,
  decodeExemplarsRequest,
  decodeInfo,
  decodeLabelsRequest,
  decodeLabelsResponse,
  decodeSeriesRequest,
  decodeSeriesResponse,
  encodeExemplars,
  encodeExemplarsRequest,
  encodeInfo,
  encodeLabelsRequest,
  encodeLabelsResponse,
  encodeSeriesRequest,
  encodeWriteRequest,
  MessageMalformedError,
  SeriesMessage,
} from "./index.ts";

const GOLDEN = path.join(import.meta.dirname, "../../../test/golden/wire");
type Call = {
  method: string;
  name: string;
  request_hex: string;
  responses?: { hex: string }[];
  code?: string;
};
const load = (file: string) => JSON.parse(readFileSync(path.join(GOLDEN, `${file}.json`), "utf8"));
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, "hex"));
const hex = (array: Uint8Array) => Buffer.from(array).toString("hex");

const calls: Call[] = ["store", "receive", "sidecar", "query"].flatMap((file) =>
  (load(file) as { calls: Call[] }).calls.map((call) => ({
    ...call,
    name: `${file} ${call.name}`,
  })),
);
const sent = (load("requests") as { requests: { method: string; hex: string }[] }).requests.map(
  (request, i) => ({ method: request.method, name: `requests ${i}`, request_hex: request.hex }),
);
const named = (list: Call[], method: string) =>
  list.filter((call) => call.method === method).map((call) => [call.name, call] as const);

/** Re-encoding drops what we do not keep: unknown fields and request hints. */
function reencoded(method: string, request: Uint8Array): Uint8Array {
  if (method.endsWith("/Series")) return encodeSeriesRequest(decodeSeriesRequest(request));
  const kind = method.endsWith("/LabelNames") ? "names" : "values";
  return encodeLabelsRequest(kind, decodeLabelsRequest(kind, request));
}

describe.each(["/thanos.Store/Series", "/thanos.Store/LabelNames", "/thanos.Store/LabelValues"])(
  "requests of %s",
  (method) => {
    test.each(named([...calls, ...sent], method))(
      "%s is decoded and encoded to the same bytes",
      (_, call) => {
        let again: Uint8Array;
        try {
          again = reencoded(method, bytes(call.request_hex));
        } catch (error) {
          // The captures hold one bad expression, which the real peers refuse too.
          expect(error).toBeInstanceOf(MatcherRegexError);
          return;
        }
        // The old fields step and range are not kept.
        if (call.name.endsWith("as-querier-rate")) {
          expect(decodeSeriesRequest(again)).toEqual(decodeSeriesRequest(bytes(call.request_hex)));
          return;
        }
        // hints = 9 of SeriesRequest, 5 and 6 of the label requests are not kept.
        if (call.request_hex.includes(Buffer.from("googleapis").toString("hex"))) return;
        expect(hex(again)).toBe(call.request_hex);
      },
    );
  },
);

const DOWNSAMPLED = new Set(["store downsampled-raw-aggregate", "store downsampled-no-aggregates"]);

test.each(named(calls, "/thanos.Store/Series"))(
  "the answer %s is decoded and encoded to the same bytes",
  (_, call) => {
    for (const { hex: given } of call.responses ?? []) {
      const frame = decodeSeriesResponse(bytes(given));
      if (frame.warnings.length > 0) continue;
      // We write raw chunks only; of a downsampled block come others, or empty ones where none was asked for.
      const raw = frame.series.every(({ chunks }) =>
        chunks.every(({ aggregate }) => aggregate === "raw"),
      );
      if (!raw || DOWNSAMPLED.has(call.name)) continue;
      const out = new SeriesMessage(given.startsWith("22"));
      for (const { labels, chunks } of frame.series) out.add(labels, chunks);
      expect(hex(out.take())).toBe(given);
    }
  },
);

test.each(named(calls, "/thanos.Exemplars/Exemplars"))(
  "%s: exemplars are read and written byte for byte",
  (_, call) => {
    expect(hex(encodeExemplarsRequest(decodeExemplarsRequest(bytes(call.request_hex))))).toBe(
      call.request_hex,
    );
    for (const { hex: given } of call.responses ?? []) {
      const { series, warnings } = decodeExemplars(bytes(given));
      expect(warnings).toEqual([]);
      expect(series.map((each) => hex(encodeExemplars(each)))).toEqual([given]);
    }
  },
);

test.each([
  ...named(calls, "/thanos.Store/LabelNames"),
  ...named(calls, "/thanos.Store/LabelValues"),
])("the answer %s is decoded, and encoded to the same bytes before its hints", (_, call) => {
  for (const { hex: given } of call.responses ?? []) {
    const again = hex(encodeLabelsResponse(decodeLabelsResponse(bytes(given))));
    expect(given.startsWith(again)).toBe(true);
    expect(given === again || given.slice(again.length).startsWith("1a")).toBe(true);
  }
});

test.each(named(calls, "/thanos.info.Info/Info"))(
  "the answer %s is decoded and encoded with the same content",
  (_, call) => {
    for (const { hex: given } of call.responses ?? []) {
      const info = decodeInfo(bytes(given));
      expect(info.componentType).not.toBe("");
      expect(decodeInfo(encodeInfo(info))).toEqual(info);
    }
  },
);

test("a write request is built as the real encoder builds it", () => {
  const { cases } = load("rw") as {
    cases: { name: string; version?: number; hex: string; snappy_hex?: string; content: unknown }[];
  };
  for (const one of cases.filter(({ snappy_hex }) => snappy_hex))
    expect(hex(snappyDecode(bytes(one.snappy_hex ?? ""), 1 << 20))).toBe(one.hex);
  const built = encodeWriteRequest([
    {
      labels: ["__name__", "up", "job", "x"],
      timestamps: Float64Array.of(1700000000000, 0),
      values: Float64Array.of(1, -0),
    },
  ]);
  const label = (name: string, value: string) =>
    `0a${size(name.length + value.length + 4)}0a${text(name)}12${text(value)}`;
  const samples = "1210" + "09000000000000f03f" + "1080d095ffbc31" + "1209" + "090000000000000080";
  const body = label("__name__", "up") + label("job", "x") + samples;
  expect(hex(built)).toBe(`0a${size(body.length / 2)}${body}`);
});

const size = (length: number) => hex(Uint8Array.of(length));
const text = (value: string) => size(value.length) + hex(Buffer.from(value));

const messages = [...calls, ...sent]
  .filter(({ method }) => method.startsWith("/thanos.Store/"))
  .flatMap(({ method, request_hex, responses }: Call) => [
    { method, request: true, hex: request_hex },
    ...(responses ?? []).map((r) => ({
      method,
      request: false,
      hex: r.hex,
    })),
  ])
  .filter((message) => message.hex.length > 0);

test("a mutated message decodes or is refused with its name, and nothing else happens", () =>
  fc.assert(
    fc.property(
      fc.nat(),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
      fc.nat(),
      (pick, edits, cut) => {
        const message = messages[pick % messages.length] as (typeof messages)[number];
        const body = bytes(message.hex);
        for (const [at, value] of edits) body[at % body.length] = value;
        const torn = cut % 3 === 0 ? body.subarray(0, cut % body.length) : body;
        try {
          if (message.request) reencoded(message.method, torn);
          else if (message.method.endsWith("/Series")) decodeSeriesResponse(torn);
          else decodeLabelsResponse(torn);
        } catch (error) {
          expect(
            error instanceof MessageMalformedError || error instanceof MatcherRegexError,
            String(error),
          ).toBe(true);
        }
      },
    ),
    { numRuns: 3000 },
  ));
