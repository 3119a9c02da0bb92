/**
 * Each kernel against its plain twin. One iteration of the first three groups is a request of 2,000 series
 * (some 565 KB); of the last, 1,000 chunks of 120 samples. `npx vitest bench --run packages/kernels`
 */

import * as snappyjs from "snappyjs";
import { bench, describe } from "vitest";
import {
  crc32c,
  snappyDecode,
  snappyEncode,
  WriteRequestBuffer,
  xorDecodeChunk,
  xxh64,
} from "./index.ts";
import { crc32c as plainCrc32c } from "./twins/crc32c.ts";
import { walkWriteRequest } from "./twins/write-request.ts";
import { decodeXor, encodeXor } from "./twins/xor.ts";
import { xxh64 as plainXxh64 } from "./twins/xxh64.ts";

const SERIES = 2000;

function field(number: number, body: Uint8Array): Uint8Array {
  const size = body.length < 128 ? [body.length] : [(body.length & 127) | 128, body.length >> 7];
  return Buffer.concat([Uint8Array.from([number * 8 + 2, ...size]), body]);
}

function body(): Uint8Array {
  const out: Uint8Array[] = [];
  for (let i = 0; i < SERIES; i++) {
    const labels: Record<string, string> = {
      __name__: `container_metric_${i % 50}_total`,
      cluster: "prod-eu-west-1",
      container: `app-${i % 40}`,
      endpoint: "https-metrics",
      instance: `10.0.${(i >> 8) & 255}.${i & 255}:9100`,
      job: `kubernetes-pods-${i % 20}`,
      namespace: `team-${i % 30}`,
      node: `ip-10-0-${i % 200}.eu-west-1.compute.internal`,
      pod: `app-${i % 40}-7d9f8b6c5d-${i.toString(36)}`,
    };
    const fields = Object.entries(labels).map(([name, value]) =>
      field(1, Buffer.concat([field(1, Buffer.from(name)), field(2, Buffer.from(value))])),
    );
    const sample = new Uint8Array([
      9, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0x80, 0xd0, 0xac, 0xf3, 0xbc, 0x31,
    ]);
    new DataView(sample.buffer).setFloat64(1, i * 1.5, true);
    out.push(field(1, Buffer.concat([...fields, field(2, sample)])));
  }
  return new Uint8Array(Buffer.concat(out));
}

const raw = body();
const block = snappyEncode(raw);
const tenant = new Uint8Array(Buffer.from("default-tenant"));

describe("snappy decode", () => {
  bench("kernel", () => {
    snappyDecode(block, 1 << 24);
  });
  bench("snappyjs", () => {
    snappyjs.uncompress(block);
  });
});

describe("snappy encode", () => {
  bench("kernel", () => {
    snappyEncode(raw);
  });
  bench("snappyjs", () => {
    snappyjs.compress(raw);
  });
});

describe("walk of 2,000 series", () => {
  const request = WriteRequestBuffer.acquire();
  request.reserve(raw.length).set(raw);
  request.useRaw(raw.length);
  bench("kernel, with the ring's hash", () => {
    request.walk(tenant);
  });
  bench("kernel, without", () => {
    request.walk(null);
  });
  bench(
    "twin",
    () => {
      walkWriteRequest(raw, tenant);
    },
    { iterations: 3, time: 0 },
  );
});

describe("checksums of 565 KB", () => {
  bench("CRC-32C kernel", () => {
    crc32c(raw);
  });
  bench("CRC-32C twin", () => {
    plainCrc32c(raw);
  });
  bench("XXH64 kernel", () => {
    xxh64(raw);
  });
  bench(
    "XXH64 twin",
    () => {
      plainXxh64(raw);
    },
    { iterations: 3, time: 0 },
  );
});

describe("1,000 XOR chunks of 120 samples", () => {
  const view = new DataView(new ArrayBuffer(8));
  const chunk = encodeXor(
    Array.from({ length: 120 }, (_, i) => 1_700_000_000_000n + BigInt(i * 15_000)),
    Array.from({ length: 120 }, (_, i) => {
      view.setFloat64(0, i * 17);
      return view.getBigUint64(0);
    }),
  );
  const times = new Float64Array(120);
  const values = new Float64Array(120);
  bench("kernel, copies in and out included", () => {
    for (let i = 0; i < 1000; i++) xorDecodeChunk(chunk, times, values);
  });
  bench(
    "twin",
    () => {
      for (let i = 0; i < 1000; i++) decodeXor(chunk, times, values);
    },
    { iterations: 3, time: 0 },
  );
});
