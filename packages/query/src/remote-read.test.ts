import { ByteReader, ByteWriter, crc32c, snappyDecode, snappyEncode } from "@torus/encoding";
import {
  type ChunkEncoding,
  compareLabels,
  type Histogram,
  labelsFromObject,
  labelValue,
  type Queryable,
  type SeriesColumns,
  setStale,
} from "@torus/model";
import {
  bytesField,
  int64Field,
  readFields,
  readInt64,
  readLabel,
  stringField,
} from "@torus/protocol";
import { decodeSamples } from "@torus/tsdb";
import { expect, test } from "vitest";
import { remoteRead } from "./remote-read.ts";

const HISTOGRAM: Histogram = {
  isInteger: true,
  counterResetHint: "unknown",
  schema: 1,
  zeroThreshold: 0.001,
  zeroCount: 2,
  count: 10,
  sum: 12.5,
  sumIsStale: false,
  positiveSpans: [{ offset: -1, length: 2 }],
  negativeSpans: [{ offset: 3, length: 1 }],
  positiveBuckets: Float64Array.of(5, 2),
  negativeBuckets: Float64Array.of(1),
  customValues: new Float64Array(0),
};

function seriesOf(name: string, values: number[], histograms: SeriesColumns["histograms"] = null) {
  return {
    labels: labelsFromObject({ __name__: name, job: "x" }),
    timestamps: Float64Array.from(values, (_, i) => 1000 * i - 1000),
    values: Float64Array.from(values),
    histograms,
    startTimestamps: null,
  };
}

const stale = seriesOf("stale", [1, 2]);
setStale(stale.values, 1);
const ALL: SeriesColumns[] = [
  seriesOf(
    "floats",
    Array.from({ length: 500 }, (_, i) => i / 3),
  ),
  seriesOf("mixed", [1, 0, 0, 4], [undefined, HISTOGRAM, HISTOGRAM, undefined]),
  stale,
].sort((a, b) => compareLabels(a.labels, b.labels));

const data: Queryable = {
  async *select({ matchers }) {
    yield ALL.filter(({ labels }) =>
      matchers.every((matcher) => matcher.matches(labelValue(labels, matcher.name))),
    );
  },
  labelNames: () => Promise.resolve([]),
  labelValues: () => Promise.resolve([]),
};

function request(names: string[], types: number[], type = 0): Uint8Array {
  const out = new ByteWriter();
  for (const name of names) {
    const query = new ByteWriter();
    int64Field(query, 1, -5000);
    int64Field(query, 2, 1_000_000);
    const matcher = new ByteWriter();
    int64Field(matcher, 1, type);
    stringField(matcher, 2, "__name__");
    stringField(matcher, 3, name);
    bytesField(query, 3, matcher.written);
    bytesField(out, 1, query.written);
  }
  for (const each of types) {
    out.u8(0x10);
    out.uvarint(each);
  }
  return snappyEncode(out.written);
}

const context = (maxSamples = 0) => ({
  data,
  signal: new AbortController().signal,
  charge: () => undefined,
  maxSamples,
});

async function bytesOf(parts: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const part of parts) all.push(part);
  return Buffer.concat(all);
}

type Field = [number: number, value: Uint8Array | number];

/** Every field, bytes for what is length-prefixed or of 64 bits. */
function fields(bytes: Uint8Array): Field[] {
  const out: Field[] = [];
  readFields("test", bytes, (number, wire, reader) => {
    if (wire === 0) out.push([number, readInt64(reader)]);
    else if (wire === 1) {
      out.push([number, reader.take(8).slice()]);
    } else out.push([number, reader.lengthPrefixed().slice()]);
    return true;
  });
  return out;
}

const messages = (all: Field[], number: number) =>
  all.flatMap(([each, value]) => (each === number && typeof value !== "number" ? [value] : []));

const bits = (values: Float64Array) => [...new BigUint64Array(values.slice().buffer)];

test("samples come in one message, staleness markers with their bits", async () => {
  const { contentType, contentEncoding, parts } = await remoteRead(
    request(["floats", "stale"], []),
    context(),
  );
  expect([contentType, contentEncoding]).toEqual(["application/x-protobuf", "snappy"]);
  const results = messages(fields(snappyDecode(await bytesOf(parts), 1 << 24)), 1);
  expect(results).toHaveLength(2);
  const names = ["floats", "stale"];
  results.forEach((result, i) => {
    const wanted = ALL.find(({ labels }) => labelValue(labels, "__name__") === names[i]);
    const [series = new Uint8Array(0), ...others] = messages(fields(result), 1);
    expect(others).toEqual([]);
    const labels: string[] = [];
    for (const label of messages(fields(series), 1)) readLabel(label, labels);
    expect(labels).toEqual(wanted?.labels);
    const samples = messages(fields(series), 2).map((sample) => fields(sample));
    expect(samples.map((sample) => sample.find(([n]) => n === 2)?.[1] ?? 0)).toEqual([
      ...(wanted?.timestamps ?? []),
    ]);
    const doubles = samples.map((sample) => {
      const value = sample.find(([number]) => number === 1)?.[1];
      return value === undefined ? 0n : Buffer.from(value as Uint8Array).readBigUInt64LE();
    });
    expect(doubles).toEqual(bits(wanted?.values ?? new Float64Array(0)));
  });
});

test("native histograms are messages of their own beside the floats", async () => {
  const { parts } = await remoteRead(request(["mixed"], [0]), context());
  const [result = new Uint8Array(0)] = messages(
    fields(snappyDecode(await bytesOf(parts), 1 << 24)),
    1,
  );
  const [series = new Uint8Array(0)] = messages(fields(result), 1);
  expect(messages(fields(series), 2)).toHaveLength(2);
  const histograms = messages(fields(series), 4);
  expect(histograms).toHaveLength(2);
  expect(Buffer.from(histograms[0] ?? []).toString("hex")).toBe(
    [
      "080a", // count 10
      "190000000000002940", // sum 12.5
      "2002", // schema 1, zigzag
      "29fca9f1d24d62503f", // zero threshold 0.001
      "3002", // zero count 2
      "420408061001", // negative span: offset 3, length 1
      "4a0102", // negative deltas: 1
      "5a0408011002", // positive span: offset -1, length 2
      "62020a05", // positive deltas: 5, -3
    ].join(""),
  );
});

test("chunks come in frames with their checksum, each with its series' labels and its query's number", async () => {
  const { contentType, contentEncoding, parts } = await remoteRead(
    request(["floats", "mixed"], [7, 1, 0]),
    context(),
  );
  expect([contentType, contentEncoding]).toEqual([
    "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
    null,
  ]);
  const reader = new ByteReader(await bytesOf(parts));
  const got: { name: string; query: number; times: number[]; values: number[] }[] = [];
  while (reader.remaining > 0) {
    const length = reader.uvarint();
    const crc = Buffer.from(reader.take(4)).readUInt32BE();
    const message = reader.take(length);
    expect(crc32c(message)).toBe(crc);
    const all = fields(message);
    const query = all.find(([number]) => number === 2)?.[1] ?? 0;
    const [series = new Uint8Array(0)] = messages(all, 1);
    const labels: string[] = [];
    for (const label of messages(fields(series), 1)) readLabel(label, labels);
    const entry = {
      name: labelValue(labels, "__name__"),
      query: Number(query),
      times: [] as number[],
      values: [] as number[],
    };
    for (const chunk of messages(fields(series), 2)) {
      const of = new Map(fields(chunk));
      const encoding = Number(of.get(3)) as ChunkEncoding;
      const decoded = decodeSamples({
        encoding,
        data: of.get(4) as Uint8Array,
      });
      entry.times.push(...[...decoded.times].map(Number));
      entry.values.push(...new Float64Array(decoded.values.slice().buffer));
    }
    got.push(entry);
  }
  expect(got.map(({ name, query }) => [name, query])).toEqual([
    ["floats", 0],
    ["mixed", 1],
  ]);
  const [floats, mixed] = got;
  const wanted = ALL.find(({ labels }) => labelValue(labels, "__name__") === "floats");
  expect(floats?.times).toEqual([...(wanted?.timestamps ?? [])]);
  expect(floats?.values).toEqual([...(wanted?.values ?? [])]);
  expect(mixed?.times).toEqual([-1000, 0, 1000, 2000]);
  expect(mixed?.values).toEqual([1, 12.5, 12.5, 4]);
});

test.each<[what: string, body: Uint8Array, maxSamples: number, message: RegExp]>([
  ["no snappy block", Uint8Array.of(1, 2, 3), 0, /snappy block/],
  ["no message", snappyEncode(Uint8Array.of(0xff, 0xff)), 0, /decode ReadRequest/],
  ["types that nobody knows", request(["floats"], [9]), 0, /does not support any .*: 9;/],
  ["a bad regular expression", request(["("], [], 2), 0, /\(/],
  ["more samples than may be", request(["floats"], []), 499, /exceeded sample limit \(499\)/],
])("a request with %s is refused", async (_, body, maxSamples, message) => {
  await expect(remoteRead(body, context(maxSamples))).rejects.toMatchObject({
    type: "bad_data",
    message: expect.stringMatching(message) as string,
  });
});
