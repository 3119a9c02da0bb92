/** Remote write requests for the tests and benchmarks of the head. */

import { WriteRequestBuffer } from "@torus/kernels";

export type TestSample = readonly [time: number, value: number];
export type TestSeries = { labels: readonly string[]; samples: readonly TestSample[] };

function varint(value: bigint): number[] {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return out;
}

function field(number: number, body: Uint8Array): Uint8Array {
  return Buffer.concat([
    Uint8Array.from([...varint(BigInt(number * 8 + 2)), ...varint(BigInt(body.length))]),
    body,
  ]);
}

export function encodeWriteRequest(series: readonly TestSeries[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { labels, samples } of series) {
    const inner: Uint8Array[] = [];
    for (let i = 0; i < labels.length; i += 2) {
      inner.push(
        field(
          1,
          Buffer.concat([
            field(1, Buffer.from(labels[i] as string)),
            field(2, Buffer.from(labels[i + 1] as string)),
          ]),
        ),
      );
    }
    for (const [time, value] of samples) {
      const bytes = new Uint8Array(9);
      bytes[0] = 9;
      new DataView(bytes.buffer).setFloat64(1, value, true);
      inner.push(field(2, Buffer.concat([bytes, Uint8Array.from([16, ...varint(BigInt(time))])])));
    }
    parts.push(field(1, Buffer.concat(inner)));
  }
  return new Uint8Array(Buffer.concat(parts));
}

/** A walked request; the caller releases it. */
export function walkedRequest(series: readonly TestSeries[]): WriteRequestBuffer {
  const body = encodeWriteRequest(series);
  const request = WriteRequestBuffer.acquire();
  request.reserve(body.length).set(body);
  request.useRaw(body.length);
  request.walk(null);
  return request;
}
