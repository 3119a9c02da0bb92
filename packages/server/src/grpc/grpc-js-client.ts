/** The read path's gRPC client, over @grpc/grpc-js, with bytes for messages. */

import grpc from "@grpc/grpc-js";
import { type GrpcCallOptions, type GrpcClient, GrpcError, GrpcStatus } from "./service.ts";

export type GrpcJsClientOptions = {
  maxMessageBytes: number;
  /** Default: no TLS. */
  credentials?: grpc.ChannelCredentials;
  /** With TLS: expected in the server's certificate instead of the address' host; "" for that. */
  serverName?: string;
};

export function createGrpcJsClient(address: string, options: GrpcJsClientOptions): GrpcClient {
  const credentials = options.credentials ?? grpc.credentials.createInsecure();
  const { serverName = "" } = options;
  const client = new grpc.Client(address, credentials, {
    ...(serverName === "" ? {} : { "grpc.ssl_target_name_override": serverName }),
    "grpc.max_receive_message_length": options.maxMessageBytes,
    "grpc.max_send_message_length": options.maxMessageBytes,
    // Thanos' own: what a store behind a load balancer or a paused one needs to be found out.
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5000,
    "grpc.max_reconnect_backoff_ms": 5000,
    // Each client owns its connection: a pool shared by address would outlive `close`.
    "grpc.use_local_subchannel_pool": 1,
  });
  const callOptions = ({ timeoutMs }: GrpcCallOptions): grpc.CallOptions =>
    timeoutMs > 0 ? { deadline: Date.now() + timeoutMs } : {};
  return {
    address,
    unary: (path, request, options) =>
      new Promise((resolve, reject) => {
        options.signal?.throwIfAborted();
        const body = request instanceof Uint8Array ? asBuffer(request) : Buffer.concat(request);
        const cancel = () => call.cancel();
        const call = client.makeUnaryRequest(
          path,
          same,
          same,
          body,
          metadataOf(options),
          callOptions(options),
          (error, answer) => {
            options.signal?.removeEventListener("abort", cancel);
            if (error !== null) reject(grpcError(error, address));
            else resolve(answer ?? new Uint8Array(0));
          },
        );
        options.signal?.addEventListener("abort", cancel, { once: true });
      }),
    async *serverStream(path, request, options) {
      options.signal?.throwIfAborted();
      const call = client.makeServerStreamRequest(
        path,
        same,
        same,
        asBuffer(request),
        metadataOf(options),
        callOptions(options),
      );
      const cancel = () => call.cancel();
      options.signal?.addEventListener("abort", cancel, { once: true });
      try {
        const messages: AsyncIterable<Buffer> = call;
        for await (const message of messages) yield message;
      } catch (error) {
        throw grpcError(error, address);
      } finally {
        options.signal?.removeEventListener("abort", cancel);
        call.cancel();
      }
    },
    close: () => client.close(),
  };
}

function same(bytes: Buffer): Buffer {
  return bytes;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function metadataOf(options: GrpcCallOptions): grpc.Metadata {
  const metadata = new grpc.Metadata();
  for (const [name, value] of Object.entries(options.metadata ?? {})) metadata.set(name, value);
  return metadata;
}

const STATUSES: readonly GrpcStatus[] = Object.values(GrpcStatus);

function grpcError(error: unknown, address: string): GrpcError {
  if (error instanceof Error && "code" in error) {
    const code = STATUSES.find((status) => status === error.code);
    const details = "details" in error ? String(error.details) : error.message;
    if (code !== undefined) {
      return new GrpcError(code, `${address}: ${details}`, { cause: error });
    }
  }
  return new GrpcError(GrpcStatus.UNKNOWN, `${address}: ${String(error)}`, { cause: error });
}
