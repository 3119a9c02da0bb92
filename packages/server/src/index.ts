export { certificateNames } from "./access.ts";
export {
  ConfigError,
  type ConfigSource,
  type ConfigWatchOptions,
  readConfig,
  watchConfig,
} from "./config-file.ts";
export { durationMs } from "./duration.ts";
export {
  CodedError,
  type ErrorClassifier,
  type ErrorCodes,
  errorCodes,
  httpStatusOf,
} from "./error-codes.ts";
export {
  createGrpcClient,
  type GrpcClientOptions,
  type RequestCompression,
} from "./grpc/client.ts";
export type { SnappyFrameDecoder } from "./grpc/compression.ts";
export { createGrpcJsClient, type GrpcJsClientOptions } from "./grpc/grpc-js-client.ts";
export { healthMethods } from "./grpc/health.ts";
export { reflectionMethods } from "./grpc/reflection.ts";
export { GrpcServer, type GrpcServerOptions, type GrpcServerTls } from "./grpc/server.ts";
export {
  type BidiHandler,
  ConnectionLostError,
  type DuplexCall,
  type DuplexEvents,
  type DuplexGrpcClient,
  type GrpcCall,
  type GrpcCallOptions,
  type GrpcClient,
  GrpcError,
  type GrpcMethod,
  type GrpcMethods,
  GrpcStatus,
  REUSABLE_BYTES,
  type ServerStreamHandler,
  type UnaryHandler,
} from "./grpc/service.ts";
export { letHeapGrow } from "./heap-growth.ts";
export { createHttpMetrics, type HttpMetrics } from "./http-metrics.ts";
export { HttpServer, type HttpServerOptions, notFound, type RawHandler } from "./http-server.ts";
export { Lifecycle, onStopSignals, type Part, stopOnSignals } from "./lifecycle.ts";
export { formatAddress, type HostPort, ListenError, listen, parseAddress } from "./listen.ts";
export {
  createLogger,
  errorText,
  LOG_FORMATS,
  LOG_LEVELS,
  type LogFields,
  type LogFormat,
  type Logger,
  type LogLevel,
} from "./log.ts";
export { type Loop, startLoop } from "./loop.ts";
export { createMetrics } from "./metrics.ts";
export { Probe } from "./probe.ts";
export { mountProbe } from "./probe-routes.ts";
export { cipherList, curveList, type TlsFiles } from "./web-config.ts";
export { mayUseTenant, WebGuard, type WebGuardOptions } from "./web-guard.ts";
