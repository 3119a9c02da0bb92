export { type ApiOptions, mountApi } from "./api.ts";
export { ApiError, apiError, type ErrorType } from "./api-error.ts";
export { ENGINE_FEATURES } from "./features.ts";
export { parseDuration } from "./parameters.ts";
export type { DataOptions, QueryJob, QuerySettings, QueryTask, TaskRunner } from "./query-job.ts";
export { WorkerPool, type WorkerPoolOptions } from "./worker-pool.ts";
