export type {
  GrpcCall,
  GrpcCallOptions,
  GrpcClient,
  GrpcMethod,
  GrpcMethods,
  ServerStreamHandler,
  UnaryHandler,
} from "./grpc/service.ts";
export { GrpcError, GrpcStatus } from "./grpc/service.ts";
