export { BucketBlock } from "./bucket/bucket-block.ts";
export { FetchLimitError, ObjectTooShortError } from "./bucket/bucket-pages.ts";
export type { GatewayEvent, GatewayOptions, ServedBlock } from "./bucket/gateway.ts";
export type { GatewayMetrics } from "./bucket/gateway-metrics.ts";
export { createGatewayMetrics } from "./bucket/gateway-metrics.ts";
export { BucketGateway } from "./bucket/gateway.ts";
export { BlockFileDamagedError } from "./bucket/index-bytes.ts";
