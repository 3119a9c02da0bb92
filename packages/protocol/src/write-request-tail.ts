/** What follows the series in a thanos.WriteRequest. */

import { ByteWriter } from "@torus/encoding";
import { int64Field, stringField } from "./wire.ts";

/**
 * The fields of a thanos.WriteRequest that follow the TimeSeries fields (1), which are copied as they came:
 * tenant (2) and replica (3). Every receiver there is understands this form.
 */
export function writeRequestTail(tenant: string, replica: number): Uint8Array {
  const out = new ByteWriter(64);
  stringField(out, 2, tenant);
  int64Field(out, 3, replica);
  return out.copy();
}
