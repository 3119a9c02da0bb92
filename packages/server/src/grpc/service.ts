/**
 * What a gRPC service is to the server, and what a call is to a handler: bytes in, bytes out.
 * Messages are encoded and decoded by the `protocol` package; the server knows framing, compression,
 * deadlines, status and nothing of what a message says.
 */

/** Codes of the gRPC specification (statuscodes.md). */
export const GrpcStatus = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;
export type GrpcStatus = (typeof GrpcStatus)[keyof typeof GrpcStatus];

/** An error with a gRPC status. A handler throws it to choose the status; a client call rejects with it. */
export class GrpcError extends Error {
  readonly code: GrpcStatus;
  constructor(code: GrpcStatus, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "GrpcError";
    this.code = code;
  }
}

/** A client's call ended without a status: its connection did. The peer may have done what was asked, or not. */
export class ConnectionLostError extends GrpcError {
  constructor(code: GrpcStatus, message: string, options?: ErrorOptions) {
    super(code, message, options);
    this.name = "ConnectionLostError";
  }
}

export type GrpcCall = {
  /** Request metadata, names in lower case; of a repeated name the values joined by ",". */
  metadata: ReadonlyMap<string, string>;
  /** Aborted when the caller cancels or goes away, when the deadline passes, or when the server stops. */
  signal: AbortSignal;
  /** `host:port` of the caller. */
  peer: string;
};

/** Above what a stream takes without having to wait for its peer. */
export const REUSABLE_BYTES = 128 << 10;

/** `request` is valid until the returned promise settles; the answer belongs to the server once returned. */
export type UnaryHandler = (
  request: Uint8Array,
  call: GrpcCall,
) => Uint8Array | Promise<Uint8Array>;

/**
 * Each yielded message belongs to the server; one of `REUSABLE_BYTES` or more only until the next is asked for, which
 * is when the socket took it.
 */
export type ServerStreamHandler = (
  request: Uint8Array,
  call: GrpcCall,
) => AsyncIterable<Uint8Array>;

/** Requests and answers both stream. The server takes the next request when the handler asks for it. */
export type BidiHandler = (
  requests: AsyncIterable<Uint8Array>,
  call: GrpcCall,
) => AsyncIterable<Uint8Array>;

export type GrpcMethod =
  | { kind: "unary"; handler: UnaryHandler }
  | { kind: "serverStream"; handler: ServerStreamHandler }
  | { kind: "bidi"; handler: BidiHandler };

/** Methods by their full path, `/thanos.Store/Series`. */
export type GrpcMethods = Readonly<Record<string, GrpcMethod>>;

/** A client of one address, for unary calls and server streams, whatever the transport below. */
export interface GrpcClient {
  readonly address: string;
  /** @throws {GrpcError} also for connection errors (UNAVAILABLE) and deadlines (DEADLINE_EXCEEDED). */
  unary(
    path: string,
    request: Uint8Array | readonly Uint8Array[],
    options: GrpcCallOptions,
  ): Promise<Uint8Array>;
  /** Ends after an OK status; throws GrpcError otherwise. Leaving the loop early cancels the call. */
  serverStream(
    path: string,
    request: Uint8Array,
    options: GrpcCallOptions,
  ): AsyncIterable<Uint8Array>;
  close(): void;
}

/** A client that can also hold a call open in which both sides send as they like. */
export interface DuplexGrpcClient extends GrpcClient {
  /** @throws {GrpcError} when there is no connection and none may be made now. */
  duplex(path: string, events: DuplexEvents, options: GrpcCallOptions): DuplexCall;
}

export type DuplexEvents = {
  onMessage: (message: Uint8Array) => void;
  /** The peer wants no more calls on this connection: what is under way may end, nothing new should begin. */
  onGoAway: () => void;
  /** Once, when the call is over; undefined after an OK status. */
  onEnd: (error: GrpcError | undefined) => void;
};

export interface DuplexCall {
  /** Sends one message, given in parts. False when the connection has enough to do. */
  write(parts: readonly Uint8Array[]): boolean;
  /** Says that no more messages come; the call ends when the peer has answered. */
  end(): void;
  cancel(error: GrpcError): void;
}

export type GrpcCallOptions = {
  /** Milliseconds from now; 0 for none. */
  timeoutMs: number;
  metadata?: Readonly<Record<string, string>>;
  signal?: AbortSignal;
};
