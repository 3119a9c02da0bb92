/** What an OTLP endpoint answers, in the encoding of the request (OTLP specification, "OTLP/HTTP Response"). */

import { ByteWriter } from "@torus/encoding";
import { bytesField, int64Field, stringField } from "../wire.ts";

export type OtlpEncoding = "protobuf" | "json";

/** ExportMetricsServiceResponse { partial success 1 { rejected data points 1, error message 2 } } */
export function encodeOtlpResponse(
  encoding: OtlpEncoding,
  rejected: number,
  message: string,
): Uint8Array {
  const isWhole = rejected === 0 && message === "";
  if (encoding === "json") {
    const partialSuccess = { rejectedDataPoints: String(rejected), errorMessage: message };
    return Buffer.from(JSON.stringify(isWhole ? {} : { partialSuccess }));
  }
  const out = new ByteWriter(64);
  if (isWhole) return out.copy();
  const partial = new ByteWriter(64);
  int64Field(partial, 1, rejected);
  stringField(partial, 2, message);
  bytesField(out, 1, partial.written);
  return out.copy();
}

/** google.rpc.Status { code 1, message 2 } */
export function encodeOtlpStatus(
  encoding: OtlpEncoding,
  code: number,
  message: string,
): Uint8Array {
  if (encoding === "json") return Buffer.from(JSON.stringify({ code, message }));
  const out = new ByteWriter(64);
  int64Field(out, 1, code);
  stringField(out, 2, message);
  return out.copy();
}
