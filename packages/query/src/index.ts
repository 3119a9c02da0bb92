export {
  type ApiOptions,
  type DataOptions,
  type EngineOptions,
  mountApi,
  type QueryEngine,
} from "./api.ts";
export { ApiError, apiError, type ErrorType } from "./api-error.ts";
export { parseDuration } from "./parameters.ts";
