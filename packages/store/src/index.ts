export type { AggregateChunks, AggregateName } from "./bucket/aggregates.ts";
export { splitAggregates } from "./bucket/aggregates.ts";
export { BucketBlock } from "./bucket/bucket-block.ts";
export { FetchLimitError, ObjectTooShortError } from "./bucket/bucket-pages.ts";
export type { GatewayEvent, GatewayOptions, ServedBlock } from "./bucket/gateway.ts";
export { BucketGateway } from "./bucket/gateway.ts";
export type { GatewayMetrics } from "./bucket/gateway-metrics.ts";
export { createGatewayMetrics } from "./bucket/gateway-metrics.ts";
export { BlockFileDamagedError } from "./bucket/index-bytes.ts";
export type { DedupFunction } from "./dedup/dedup.ts";
export type { ExemplarSource } from "./exemplars.ts";
export { mergeSeries, type SeriesOf, type SeriesStream } from "./merge.ts";
export {
  Endpoint,
  type EndpointOptions,
  EndpointSet,
  type EndpointState,
} from "./proxy/endpoints.ts";
export {
  type ExemplarsCall,
  fanOutExemplars,
  TooManyExemplarsError,
} from "./proxy/fan-out-exemplars.ts";
export { fanOutMetadata, type MetadataCall } from "./proxy/fan-out-metadata.ts";
export { FanOutError, spareReplicas } from "./proxy/missing.ts";
export { ProxyQueryable, type ProxyQueryOptions } from "./proxy/proxy-queryable.ts";
export {
  type ClientTls,
  type EndpointSpec,
  openSeriesClient,
  openStoreClient,
} from "./proxy/store-client.ts";
export { matchExternal, overlaps, type StoreSource } from "./source.ts";
export { type SourcesWanted, type StoreServiceOptions, storeMethods } from "./store-service.ts";
