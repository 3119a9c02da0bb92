export { type ApiOptions, mountApi } from "./api.ts";
export { ApiError, apiError, type ErrorType } from "./api-error.ts";
export { EndpointAddressError, parseEndpointAddress, systemDns } from "./endpoint-addresses.ts";
export { EndpointFileError, parseEndpointFile } from "./endpoint-file.ts";
export { EndpointSource } from "./endpoint-source.ts";
export { ENGINE_FEATURES } from "./features.ts";
export { parseDuration } from "./parameters.ts";
export type { DataOptions, QueryJob, QuerySettings, QueryTask, TaskRunner } from "./query-job.ts";
export { WorkerPool, type WorkerPoolOptions } from "./worker-pool.ts";
