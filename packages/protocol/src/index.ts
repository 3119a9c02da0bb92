export { encodeWriteRequest, type WriteSeries } from "./write-request-encode.ts";
