import fc from "fast-check";
import { expect, test } from "vitest";
import { readFields } from "../wire.ts";
import { decodeOtlpJson } from "./json.ts";
import { OtlpMalformedError } from "./metrics.ts";
import { labelName, metricName, plainNumber } from "./names.ts";
import { decodeOtlpProtobuf } from "./protobuf.ts";
import { OtlpTooLargeError, otlpToWriteRequest } from "./to-write-request.ts";

const SETTINGS = { targetInfo: true, promote: new Set<string>(), maxBytes: 1 << 20 };

type Exemplar = [labels: string[], value: number, time: number];
type Series = {
  labels: Record<string, string>;
  sample: [value: number, time: number] | "histogram";
  exemplars?: Exemplar[];
};

function readExemplar(bytes: Uint8Array): Exemplar {
  const out: Exemplar = [[], 0, 0];
  readFields("Exemplar", bytes, (number, _, reader) => {
    if (number === 1) {
      readFields(
        "Label",
        reader.lengthPrefixed(),
        (_n, _w, part) => out[0].push(part.string()) > 0,
      );
    } else if (number === 2) out[1] = Buffer.from(reader.take(8)).readDoubleLE();
    else out[2] = reader.uvarint();
    return true;
  });
  return out;
}

/** What the remote write request says. */
function read(body: Uint8Array): Series[] {
  const all: Series[] = [];
  readFields("WriteRequest", body, (number, _, reader) => {
    expect(number).toBe(1);
    const one: Series = { labels: {}, sample: [0, 0] };
    readFields("TimeSeries", reader.lengthPrefixed(), (field, _wire, inner) => {
      const bytes = inner.lengthPrefixed();
      if (field === 1) {
        const text: string[] = [];
        readFields("Label", bytes, (_n, _w, part) => text.push(part.string()) > 0);
        one.labels[text[0] as string] = text[1] as string;
      } else if (field === 4) one.sample = "histogram";
      else if (field === 3) (one.exemplars ??= []).push(readExemplar(bytes));
      else {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
        let time = 0;
        readFields("Sample", bytes, (n, _w, part) => {
          if (n !== 2) return false;
          time = part.uvarint();
          return true;
        });
        one.sample = [view.getFloat64(1, true), time];
      }
      return true;
    });
    all.push(one);
    return true;
  });
  return all;
}

const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const at = "1700000000123456789";
const attributes = (values: Record<string, unknown>) =>
  Object.entries(values).map(([key, value]) => ({ key, value }));

function request(metrics: unknown[], resource: Record<string, unknown> = {}) {
  return decodeOtlpJson(
    json({
      resourceMetrics: [
        { resource: { attributes: attributes(resource) }, scopeMetrics: [{ metrics }] },
      ],
    }),
  );
}

test.each<[name: string, unit: string, kind: "counter" | "gauge" | "other", expected: string]>([
  ["http.server.duration", "s", "other", "http_server_duration_seconds"],
  ["requests.count", "1", "counter", "requests_count_total"],
  ["memory.usage", "By", "gauge", "memory_usage_bytes"],
  ["memory_usage_bytes", "By", "gauge", "memory_usage_bytes"],
  ["cpu", "1", "gauge", "cpu_ratio"],
  ["total.requests", "", "counter", "requests_total"],
  ["speed", "m/s", "gauge", "speed_meters_per_second"],
  ["rate", "{packet}/s", "gauge", "rate_per_second"],
  ["queue", "{packet}", "gauge", "queue"],
  ["3d.points", "", "other", "_3d_points"],
  ["a__b..c", "", "other", "a_b_c"],
  ["a:b", "foo/bar", "other", "a:b_foo_per_bar"],
  ["temp", "constructor", "other", "temp_constructor"],
  ["...", "", "other", ""],
])("metric %s in %s, a %s, is %s", (name, unit, kind, expected) =>
  expect(metricName(name, unit, kind)).toBe(expected),
);

test.each([
  ["http.method", "http_method"],
  ["a..b", "a_b"],
  ["123invalid", "key_123invalid"],
  ["__reserved__", "__reserved__"],
  ["_x", "_x"],
  ["é", ""],
  ["", ""],
])("attribute %s is label %s", (name, expected) => expect(labelName(name)).toBe(expected));

test.each([
  [0.005, "0.005"],
  [5, "5"],
  [1e21, "1000000000000000000000"],
  [1.5e-7, "0.00000015"],
  [-2.5e22, "-25000000000000000000000"],
  [Number.POSITIVE_INFINITY, "+Inf"],
])("%d is written %s", (value, expected) => expect(plainNumber(value)).toBe(expected));

test("numbers, histograms and summaries become the series that Prometheus makes of them", () => {
  const point = { timeUnixNano: at, attributes: attributes({ "a.b": { stringValue: "x" } }) };
  const resources = request(
    [
      {
        name: "hits",
        sum: {
          aggregationTemporality: 2,
          isMonotonic: true,
          dataPoints: [{ ...point, asInt: "7" }],
        },
      },
      { name: "temp", unit: "Cel", gauge: { dataPoints: [{ ...point, asDouble: 21.5 }] } },
      {
        name: "lat",
        unit: "s",
        histogram: {
          aggregationTemporality: 2,
          dataPoints: [
            { ...point, count: "6", sum: 9, explicitBounds: [0.1, 1], bucketCounts: [1, "2", 3] },
          ],
        },
      },
      {
        name: "sum",
        summary: {
          dataPoints: [
            { ...point, count: 2, sum: 3, quantileValues: [{ quantile: 0.5, value: 1 }] },
          ],
        },
      },
    ],
    {
      "service.name": { stringValue: "shop" },
      "service.namespace": { stringValue: "eu" },
      "service.instance.id": { stringValue: "i1" },
      "host.name": { stringValue: "h" },
    },
  );
  const { body, rejected } = otlpToWriteRequest(resources, SETTINGS);
  expect(rejected).toBe(0);
  const common = { a_b: "x", instance: "i1", job: "eu/shop" };
  const time = 1_700_000_000_123;
  expect(read(body)).toEqual([
    { labels: { __name__: "hits_total", ...common }, sample: [7, time] },
    { labels: { __name__: "temp_celsius", ...common }, sample: [21.5, time] },
    { labels: { __name__: "lat_seconds_sum", ...common }, sample: [9, time] },
    { labels: { __name__: "lat_seconds_count", ...common }, sample: [6, time] },
    { labels: { __name__: "lat_seconds_bucket", ...common, le: "0.1" }, sample: [1, time] },
    { labels: { __name__: "lat_seconds_bucket", ...common, le: "1" }, sample: [3, time] },
    { labels: { __name__: "lat_seconds_bucket", ...common, le: "+Inf" }, sample: [6, time] },
    { labels: { __name__: "sum_sum", ...common }, sample: [3, time] },
    { labels: { __name__: "sum_count", ...common }, sample: [2, time] },
    { labels: { __name__: "sum", ...common, quantile: "0.5" }, sample: [1, time] },
    {
      labels: { __name__: "target_info", host_name: "h", instance: "i1", job: "eu/shop" },
      sample: [1, time],
    },
  ]);
});

test("exemplars go to the series that they are of, oldest first, with their ids", () => {
  const ids = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "B7AD6B7169203331" };
  const trace = ["trace_id", ids.traceId];
  const span = ["span_id", ids.spanId.toLowerCase()];
  const filteredAttributes = attributes({ "user.id": { stringValue: "u1" } });
  const exemplar = (seconds: number, asDouble: number, more: object = {}) => ({
    timeUnixNano: String(BigInt(seconds) * 1_000_000_000n),
    asDouble,
    ...more,
  });
  const point = { timeUnixNano: at, count: 3, sum: 9 };
  const resources = request([
    {
      name: "hits",
      sum: {
        aggregationTemporality: 2,
        isMonotonic: true,
        dataPoints: [
          {
            timeUnixNano: at,
            asInt: 1,
            exemplars: [
              exemplar(9, 4, { ...ids, filteredAttributes }),
              { asInt: "3", timeUnixNano: "8000000000", traceId: "", spanId: "0".repeat(16) },
              exemplar(0, 5, {
                ...ids,
                filteredAttributes: attributes({ long: { stringValue: "é".repeat(80) } }),
              }),
            ],
          },
        ],
      },
    },
    {
      name: "temp",
      gauge: { dataPoints: [{ timeUnixNano: at, asInt: 1, exemplars: [exemplar(9, 1)] }] },
    },
    {
      name: "lat",
      histogram: {
        aggregationTemporality: 2,
        dataPoints: [
          {
            ...point,
            explicitBounds: [1, 2],
            bucketCounts: [1, 1, 1],
            exemplars: [exemplar(9, 7), exemplar(8, 0.5), exemplar(7, 2), exemplar(6, 1)],
          },
        ],
      },
    },
    {
      name: "native",
      exponentialHistogram: {
        aggregationTemporality: 2,
        dataPoints: [{ ...point, scale: 0, exemplars: [exemplar(9, 2)] }],
      },
    },
  ]);
  const found = read(otlpToWriteRequest(resources, SETTINGS).body)
    .filter(({ exemplars }) => exemplars !== undefined)
    .map(({ labels, exemplars }) => [`${labels["__name__"]} ${labels["le"] ?? ""}`, exemplars]);
  expect(found).toEqual([
    [
      "hits_total ",
      [
        [[], 3, 8000],
        [[...span, ...trace, "user.id", "u1"], 4, 9000],
        [[...span, ...trace], 5, 1_700_000_000_123],
      ],
    ],
    [
      "lat_bucket 1",
      [
        [[], 1, 6000],
        [[], 0.5, 8000],
      ],
    ],
    ["lat_bucket 2", [[[], 2, 7000]]],
    ["lat_bucket +Inf", [[[], 7, 9000]]],
    ["native ", [[[], 2, 9000]]],
  ]);
  const bad = { timeUnixNano: at, asInt: 1, exemplars: [exemplar(9, 1, { traceId: "abc" })] };
  expect(() => request([{ name: "x", gauge: { dataPoints: [bad] } }])).toThrow(/32 hexadecimal/);
});

test("what is told of metrics is metadata, under the names that they get", () => {
  const dataPoints = [{ timeUnixNano: at, asInt: 1, count: 0 }];
  const cumulative = { aggregationTemporality: 2, dataPoints };
  const resources = request(
    [
      { name: "hits", description: "How often.", sum: { ...cumulative, isMonotonic: true } },
      { name: "open", unit: "{conn}", sum: cumulative },
      { name: "speed", unit: "By/s", gauge: { dataPoints } },
      { name: "lat", unit: "s", histogram: cumulative },
      { name: "native", unit: "s", exponentialHistogram: cumulative },
      { name: "sum", summary: { dataPoints } },
      { name: "delta", sum: { aggregationTemporality: 1, dataPoints } },
    ],
    { "service.name": { stringValue: "s" }, zone: { stringValue: "z" } },
  );
  expect(otlpToWriteRequest(resources, SETTINGS).metadata).toEqual([
    { metric: "hits_total", type: "counter", help: "How often.", unit: "" },
    { metric: "open", type: "gauge", help: "", unit: "" },
    { metric: "speed_bytes_per_second", type: "gauge", help: "", unit: "bytes_per_second" },
    { metric: "lat_seconds", type: "histogram", help: "", unit: "seconds" },
    { metric: "native_seconds", type: "histogram", help: "", unit: "seconds" },
    { metric: "sum", type: "summary", help: "", unit: "" },
    { metric: "target_info", type: "gauge", help: "Target metadata", unit: "" },
  ]);
});

test("what cannot be translated is counted and named, and spoils nothing", () => {
  const dataPoints = [{ timeUnixNano: at, asInt: 1 }];
  const resources = request([
    { name: "delta", sum: { aggregationTemporality: 1, dataPoints } },
    { name: "...", gauge: { dataPoints } },
    { name: "ok", gauge: { dataPoints } },
    {
      name: "coarse",
      exponentialHistogram: {
        aggregationTemporality: 2,
        dataPoints: [{ timeUnixNano: at, scale: -5, count: 0 }],
      },
    },
  ]);
  const { body, rejected, reasons } = otlpToWriteRequest(resources, SETTINGS);
  expect(rejected).toBe(3);
  expect(reasons).toEqual([
    'invalid temporality and type combination for metric "delta"',
    'normalization for metric "..." resulted in an empty name',
    "scale must be >= -4, was -5",
  ]);
  expect(read(body).map(({ labels }) => labels["__name__"])).toEqual(["ok"]);
});

test("attributes of every kind become text; those that become one name stand together", () => {
  const values = {
    "a.b": { stringValue: "1" },
    "a-b": { intValue: "-9007199254740993" },
    c: { boolValue: true },
    d: { doubleValue: 1e-7 },
    e: { arrayValue: { values: [{ stringValue: "<x>" }, { intValue: 2 }] } },
    f: { kvlistValue: { values: attributes({ z: { boolValue: false }, y: {} }) } },
    g: { bytesValue: "AQI=" },
    empty: { stringValue: "" },
    __name__: { stringValue: "no" },
  };
  const dataPoints = [{ timeUnixNano: at, asInt: 1, attributes: attributes(values) }];
  const [one] = read(
    otlpToWriteRequest(request([{ name: "m", gauge: { dataPoints } }]), SETTINGS).body,
  );
  expect(one?.labels).toEqual({
    __name__: "m",
    a_b: "-9007199254740993;1",
    c: "true",
    d: "1e-7",
    e: '["\\u003cx\\u003e",2]',
    f: '{"y":null,"z":false}',
    g: "AQI=",
  });
});

test("promoted attributes of the resource are on every series, and bounded in sum", () => {
  const dataPoints = Array.from({ length: 100 }, () => ({ timeUnixNano: at, asInt: 1 }));
  const resource = { zone: { stringValue: "z".repeat(1000) } };
  const resources = request([{ name: "m", gauge: { dataPoints } }], resource);
  const promote = new Set(["zone"]);
  const { body } = otlpToWriteRequest(resources, { ...SETTINGS, promote });
  expect(read(body)[99]?.labels["zone"]).toHaveLength(1000);
  const small = { ...SETTINGS, promote, maxBytes: 50_000 };
  expect(() => otlpToWriteRequest(resources, small)).toThrow(OtlpTooLargeError);
});

test("target_info spans the points of its resource, but not all of time", () => {
  const dataPoints = ["0", at].map((timeUnixNano) => ({ timeUnixNano, asInt: 1 }));
  const resource = { "service.name": { stringValue: "s" }, zone: { stringValue: "z" } };
  const resources = request([{ name: "m", gauge: { dataPoints } }], resource);
  const { body } = otlpToWriteRequest(resources, SETTINGS);
  const info = read(body).filter(({ labels }) => labels["__name__"] === "target_info");
  expect(info).toHaveLength(61);
});

const varint = (value: number): number[] =>
  value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
const field = (number: number, ...content: (number | Uint8Array)[]): Uint8Array => {
  const inner = Buffer.concat(
    content
      .map((each) => (typeof each === "number" ? [each] : each))
      .map((each) => Buffer.from(each)),
  );
  return Buffer.concat([Buffer.from([number * 8 + 2, ...varint(inner.length)]), inner]);
};
const name = field(1, Buffer.from("m"));
const time = Buffer.concat([Buffer.of(0x19), Buffer.from("15cd5b7f00e49717", "hex")]);

test("protobuf says the same as JSON, and sparse buckets become spans", () => {
  // Counts 1, 0, 0, 0, 2 from bucket 3 on: Prometheus' buckets 4 and 8.
  const buckets = field(8, 0x08, 6, field(2, 1, 0, 0, 0, 2));
  const point = field(
    1,
    time,
    Buffer.from([0x21, 3, 0, 0, 0, 0, 0, 0, 0]),
    Buffer.of(0x30, 4),
    buckets,
  );
  const body = field(1, field(2, field(2, name, field(10, point, 0x10, 2))));
  const [resource] = decodeOtlpProtobuf(body);
  expect(resource?.metrics[0]).toEqual({
    name: "m",
    description: "",
    unit: "",
    data: {
      kind: "exponential",
      temporality: 2,
      points: [
        {
          attributes: [],
          timeMs: Number(0x1797e4007f5bcd15n / 1_000_000n),
          startMs: 0,
          noValue: false,
          count: 3n,
          sum: null,
          scale: 2,
          zeroCount: 0n,
          positive: { offset: 3, counts: [1n, 0n, 0n, 0n, 2n] },
          negative: { offset: 0, counts: [] },
          exemplars: [],
        },
      ],
    },
  });
  const translated = Buffer.from(
    otlpToWriteRequest(resource === undefined ? [] : [resource], SETTINGS).body,
  );
  // Two spans, at 4 and three further on, and the counts as differences: 1, +1.
  expect(
    translated.includes(Buffer.from([0x5a, 4, 8, 8, 16, 1, 0x5a, 4, 8, 6, 16, 1, 0x62, 2, 2, 2])),
  ).toBe(true);
});

/** Field 3 of Samples and 17 of Histograms, by series. */
function startsOf(body: Uint8Array): Record<string, number> {
  const out: Record<string, number> = {};
  readFields("WriteRequest", body, (_number, _wire, reader) => {
    const labels: string[] = [];
    let start = 0;
    readFields("TimeSeries", reader.lengthPrefixed(), (field, _w, inner) => {
      const bytes = inner.lengthPrefixed();
      if (field === 1) {
        const text: string[] = [];
        readFields("Label", bytes, (_n, _t, part) => text.push(part.string()) > 0);
        labels.push(text[1] as string);
      } else {
        readFields("Sample", bytes, (n, _t, part) => {
          if (n !== (field === 2 ? 3 : 17)) return false;
          start = part.uvarint();
          return true;
        });
      }
      return true;
    });
    out[labels.join()] = start;
    return true;
  });
  return out;
}

test("what counts up has start timestamps where they are kept, in both encodings", () => {
  const point = { timeUnixNano: at, startTimeUnixNano: "1600000000999999999" };
  const cumulative = { aggregationTemporality: 2 };
  const resources = request([
    {
      name: "hits",
      sum: { ...cumulative, isMonotonic: true, dataPoints: [{ ...point, asInt: "7" }] },
    },
    {
      name: "late",
      sum: { ...cumulative, isMonotonic: true, dataPoints: [{ timeUnixNano: at, asInt: "7" }] },
    },
    { name: "level", sum: { ...cumulative, dataPoints: [{ ...point, asInt: "7" }] } },
    { name: "temp", gauge: { dataPoints: [{ ...point, asDouble: 21.5 }] } },
    { name: "lat", histogram: { ...cumulative, dataPoints: [{ ...point, count: "6", sum: 9 }] } },
    {
      name: "exp",
      exponentialHistogram: {
        ...cumulative,
        dataPoints: [{ ...point, count: "1", scale: 1, positive: { bucketCounts: ["1"] } }],
      },
    },
    {
      name: "sizes",
      summary: {
        dataPoints: [{ ...point, count: 4, sum: 8, quantileValues: [{ quantile: 0.5, value: 2 }] }],
      },
    },
  ]);
  const started = otlpToWriteRequest(resources, { ...SETTINGS, startTimes: true });
  expect([started.rejected, startsOf(started.body)]).toEqual([
    0,
    {
      hits_total: 1_600_000_000_999,
      late_total: 0,
      level: 0,
      temp: 0,
      lat_sum: 1_600_000_000_999,
      lat_count: 1_600_000_000_999,
      "lat_bucket,+Inf": 1_600_000_000_999,
      exp: 1_600_000_000_999,
      sizes_sum: 1_600_000_000_999,
      sizes_count: 1_600_000_000_999,
      "sizes,0.5": 0,
    },
  ]);
  const without = Object.values(startsOf(otlpToWriteRequest(resources, SETTINGS).body));
  expect(without.some((start) => start !== 0)).toBe(false);
  const nanos = Buffer.alloc(9, 0x11);
  nanos.writeBigUInt64LE(1_600_000_000_999_999_999n, 1);
  for (const kind of [7, 9, 10, 11]) {
    const body = field(1, field(2, field(2, name, field(kind, field(1, nanos, time)))));
    expect(decodeOtlpProtobuf(body)[0]?.metrics[0]?.data?.points).toMatchObject([
      { startMs: 1_600_000_000_999 },
    ]);
  }
});

test("exemplars of protobuf say the same as those of JSON", () => {
  const nanos = Buffer.alloc(8);
  nanos.writeBigUInt64LE(9_000_000_000n);
  const double = Buffer.alloc(8);
  double.writeDoubleLE(2.5);
  const spanId = "b7ad6b7169203331";
  const traceId = "0af7651916cd43dd8448eb211c80319c";
  const exemplar = [
    Buffer.concat([Buffer.of(0x11), nanos, Buffer.of(0x19), double]),
    field(4, Buffer.from(spanId, "hex")),
    field(5, Buffer.from(traceId, "hex")),
    field(7, field(1, Buffer.from("k")), field(2, field(1, Buffer.from("v")))),
  ];
  const of = (point: number, kind: number) =>
    decodeOtlpProtobuf(
      field(1, field(2, field(2, name, field(kind, field(1, time, field(point, ...exemplar)))))),
    );
  const expected = [{ timeMs: 9000, value: 2.5, spanId, traceId, attributes: [["k", "v"]] }];
  for (const [point, kind] of [
    [5, 7],
    [8, 9],
    [11, 10],
  ] as const) {
    expect(of(point, kind)[0]?.metrics[0]?.data?.points).toMatchObject([{ exemplars: expected }]);
  }
  const short = field(5, Buffer.of(1, 2));
  const body = field(1, field(2, field(2, name, field(5, field(1, field(5, short))))));
  expect(() => decodeOtlpProtobuf(body)).toThrow(/32 hexadecimal/);
});

test("whatever the bytes are, they are taken or refused with a word", () => {
  const point = field(
    1,
    time,
    Buffer.of(0x31),
    Buffer.alloc(8, 1),
    field(7, field(1, Buffer.from("k"))),
  );
  const whole = field(
    1,
    field(1, field(1, field(1, Buffer.from("r")))),
    field(2, field(2, name, field(5, point))),
  );
  expect(decodeOtlpProtobuf(whole)[0]?.metrics).toHaveLength(1);
  const use = (decode: () => ReturnType<typeof decodeOtlpProtobuf>) => {
    try {
      otlpToWriteRequest(decode(), SETTINGS);
    } catch (error) {
      if (!(error instanceof OtlpMalformedError || error instanceof OtlpTooLargeError)) throw error;
    }
  };
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length), fc.nat(255)), { maxLength: 4 }),
      fc.nat(whole.length),
      (changes, cut) => {
        const bytes = Buffer.from(whole.subarray(0, cut));
        for (const [where, byte] of changes) if (where < cut) bytes[where] = byte;
        use(() => decodeOtlpProtobuf(bytes));
      },
    ),
    { numRuns: 20_000 },
  );
  fc.assert(
    fc.property(fc.json(), (text) => use(() => decodeOtlpJson(Buffer.from(text)))),
    { numRuns: 2000 },
  );
});

test("values nested without end, and lists beyond measure, are refused", () => {
  let value: Uint8Array = field(1, Buffer.from("x"));
  for (let i = 0; i < 2000; i++) value = field(5, field(1, value));
  const deep = field(1, field(1, field(1, field(1, Buffer.from("k")), field(2, value))));
  expect(() => decodeOtlpProtobuf(deep)).toThrow(/nested too deep/);
  const many = field(10, field(1, field(8, field(2, Buffer.alloc(20_000)))));
  expect(() => decodeOtlpProtobuf(field(1, field(2, field(2, name, many))))).toThrow(
    /more than 16384/,
  );
  let nested: unknown = { stringValue: "x" };
  for (let i = 0; i < 200; i++) nested = { arrayValue: { values: [nested] } };
  expect(() => request([], { k: nested })).toThrow(/nested too deep/);
});
