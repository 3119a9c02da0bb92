/** The metrics of a gRPC server under the names that Go's middleware, and so every Thanos dashboard, gives them. */

import { Counter, Histogram, type Registry } from "prom-client";
import { GrpcStatus } from "./service.ts";

/** Go's names of the codes, which are not those of the specification. */
const CODE_NAMES: Readonly<Record<GrpcStatus, string>> = {
  [GrpcStatus.OK]: "OK",
  [GrpcStatus.CANCELLED]: "Canceled",
  [GrpcStatus.UNKNOWN]: "Unknown",
  [GrpcStatus.INVALID_ARGUMENT]: "InvalidArgument",
  [GrpcStatus.DEADLINE_EXCEEDED]: "DeadlineExceeded",
  [GrpcStatus.NOT_FOUND]: "NotFound",
  [GrpcStatus.ALREADY_EXISTS]: "AlreadyExists",
  [GrpcStatus.PERMISSION_DENIED]: "PermissionDenied",
  [GrpcStatus.RESOURCE_EXHAUSTED]: "ResourceExhausted",
  [GrpcStatus.FAILED_PRECONDITION]: "FailedPrecondition",
  [GrpcStatus.ABORTED]: "Aborted",
  [GrpcStatus.OUT_OF_RANGE]: "OutOfRange",
  [GrpcStatus.UNIMPLEMENTED]: "Unimplemented",
  [GrpcStatus.INTERNAL]: "Internal",
  [GrpcStatus.UNAVAILABLE]: "Unavailable",
  [GrpcStatus.DATA_LOSS]: "DataLoss",
  [GrpcStatus.UNAUTHENTICATED]: "Unauthenticated",
};

/** The counters of one method, its labels bound once. */
export type MethodMetrics = {
  started: () => void;
  messageReceived: () => void;
  messageSent: () => void;
  handled: (code: GrpcStatus, seconds: number) => void;
};

const LABELS = ["grpc_method", "grpc_service", "grpc_type"] as const;

/** Returns what makes a method's counters. One for each registry. */
export function createGrpcServerMetrics(
  registry: Registry,
): (path: string, kind: "unary" | "serverStream" | "bidi") => MethodMetrics {
  const registers = [registry];
  const counter = (name: string, help: string) =>
    new Counter({ name, help, labelNames: LABELS, registers });
  const started = counter("grpc_server_started_total", "Total number of RPCs started.");
  const received = counter(
    "grpc_server_msg_received_total",
    "Total number of RPC stream messages received.",
  );
  const sent = counter("grpc_server_msg_sent_total", "Total number of RPC stream messages sent.");
  const handled = new Counter({
    name: "grpc_server_handled_total",
    help: "Total number of RPCs completed, regardless of success or failure.",
    labelNames: [...LABELS, "grpc_code"],
    registers,
  });
  const seconds = new Histogram({
    name: "grpc_server_handling_seconds",
    help: "Response latency of RPCs until they were finished by the server.",
    labelNames: LABELS,
    buckets: [0.001, 0.01, 0.1, 0.3, 0.6, 1, 2, 3, 6, 9, 20, 30, 60, 90, 120],
    registers,
  });
  const types = { unary: "unary", serverStream: "server_stream", bidi: "bidi_stream" };
  return (path, kind) => {
    const [, service = "", method = ""] = path.split("/");
    const labels = { grpc_method: method, grpc_service: service, grpc_type: types[kind] };
    const [start, receive, send] = [
      started.labels(labels),
      received.labels(labels),
      sent.labels(labels),
    ];
    const duration = seconds.labels(labels);
    return {
      started: () => start.inc(),
      messageReceived: () => receive.inc(),
      messageSent: () => send.inc(),
      handled: (code, elapsed) => {
        handled.inc({ ...labels, grpc_code: CODE_NAMES[code] });
        duration.observe(elapsed);
      },
    };
  };
}
