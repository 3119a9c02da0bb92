import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { encodeWriteRequest } from "./write-request-encode.ts";

const root = protobuf.parse(
  `syntax = "proto3";
   message WriteRequest { repeated TimeSeries timeseries = 1; }
   message TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; }
   message Label { string name = 1; string value = 2; }
   message Sample { double value = 1; int64 timestamp = 2; }`,
).root;

test("protobufjs reads back what was written, negative times and non-ASCII labels included, zeros left out", () => {
  const body = encodeWriteRequest([
    {
      labels: ["__name__", "up", "city", "Zürich"],
      timestamps: Float64Array.of(-1, 0, 1_700_000_000_000),
      values: Float64Array.of(0.5, -0, Number.POSITIVE_INFINITY),
    },
    { labels: ["__name__", "empty"], timestamps: new Float64Array(0), values: new Float64Array(0) },
  ]);
  const message = root.lookupType("WriteRequest").decode(body).toJSON();
  expect(message).toStrictEqual({
    timeseries: [
      {
        labels: [
          { name: "__name__", value: "up" },
          { name: "city", value: "Zürich" },
        ],
        samples: [
          { value: 0.5, timestamp: "-1" },
          { value: -0 },
          { value: "Infinity", timestamp: "1700000000000" },
        ],
      },
      { labels: [{ name: "__name__", value: "empty" }] },
    ],
  });
});

test("the staleness marker keeps its bits", () => {
  const values = new Float64Array(1);
  new BigUint64Array(values.buffer)[0] = 0x7ff0000000000002n;
  const body = encodeWriteRequest([{ labels: [], timestamps: Float64Array.of(1), values }]);
  expect(Buffer.from(body).toString("hex")).toContain("09020000000000f07f");
});
