/**
 * The top level of a thanos.WriteRequest (Thanos' messages: pkg/store/storepb): 1 TimeSeries*, 2 tenant, 3 replica,
 * 4 timeseriesTenantData { 1 TimeSeries*, 2 tenant }*. Only lengths are looked at; `walkRange` reads the series.
 */

import { type WriteRequestBuffer, WriteRequestMalformedError } from "./write-request-buffer.ts";

export type TenantPart = {
  tenant: string;
  /** The range to give to `walkRange`, in the buffer's memory. */
  start: number;
  length: number;
};

export type WriteRequestOutline = {
  /** Field 2, or "". */
  tenant: string;
  /** Field 3: 0 for a request that nobody routed yet, else the number of the copy, from 1. */
  replica: number;
  /** Whether there is any TimeSeries at the top level (the old form). */
  hasSeries: boolean;
  parts: TenantPart[];
};

/** @throws {WriteRequestMalformedError} */
export function outline(request: WriteRequestBuffer): WriteRequestOutline {
  const base = request.bodyStart;
  return outlineBytes(request.bytes(base, request.bodyLength), base);
}

/**
 * The same for a body wherever it lies.
 *
 * @param base Where the body begins, to count the parts' starts from.
 * @throws {WriteRequestMalformedError}
 */
export function outlineBytes(body: Uint8Array, base: number): WriteRequestOutline {
  const out: WriteRequestOutline = { tenant: "", replica: 0, hasSeries: false, parts: [] };
  eachField(body, 0, body.length, (field, wireType, start, end, value) => {
    if (field === 1) out.hasSeries = true;
    else if (field === 2 && wireType === 2) out.tenant = text(body, start, end);
    else if (field === 3 && wireType === 0) out.replica = value;
    else if (field === 4 && wireType === 2) {
      const part: TenantPart = { tenant: "", start: base + start, length: end - start };
      eachField(body, start, end, (inner, innerType, from, to) => {
        if (inner === 2 && innerType === 2) part.tenant = text(body, from, to);
      });
      out.parts.push(part);
    }
  });
  return out;
}

function text(body: Uint8Array, start: number, end: number): string {
  return Buffer.from(body.buffer, body.byteOffset + start, end - start).toString("utf8");
}

function eachField(
  body: Uint8Array,
  from: number,
  end: number,
  visit: (field: number, wireType: number, start: number, end: number, value: number) => void,
): void {
  let at = from;
  const varint = (): number => {
    let value = 0;
    for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
      if (at >= end) throw new WriteRequestMalformedError(at);
      const byte = body[at++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new WriteRequestMalformedError(at);
  };
  while (at < end) {
    const tag = varint();
    const wireType = tag % 8;
    const field = Math.floor(tag / 8);
    if (field === 0) throw new WriteRequestMalformedError(at);
    let start = at;
    let value = 0;
    if (wireType === 0) value = varint();
    else if (wireType === 1) at += 8;
    else if (wireType === 5) at += 4;
    else if (wireType === 2) {
      const length = varint();
      start = at;
      at += length;
    } else throw new WriteRequestMalformedError(at);
    if (at > end) throw new WriteRequestMalformedError(start);
    visit(field, wireType, start, at, value);
  }
}
