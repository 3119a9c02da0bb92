/**
 * A gRPC server over node:http2: unary calls and server streams as `service.ts` has them, with deadlines, status
 * trailers, gzip and framed snappy requests, health and reflection. Why not grpc-js: transport.bench.ts has it 1.3 to
 * 2.8 times slower, and it cannot take the snappy that Thanos' routers send.
 */

import http2, {
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Registry } from "prom-client";
import { type ErrorClassifier, errorCodes } from "../error-codes.ts";
import { formatAddress, listen } from "../listen.ts";
import type { Logger } from "../log.ts";
import type { SnappyFrameDecoder } from "./compression.ts";
import { MessageBuffers } from "./message-buffers.ts";
import { statusTrailers } from "./metadata.ts";
import { type ReceiveBudget, ServerCall } from "./server-call.ts";
import { createGrpcServerMetrics, type MethodMetrics } from "./server-metrics.ts";
import { type GrpcMethod, type GrpcMethods, GrpcStatus } from "./service.ts";

export type GrpcServerTls = {
  cert: string | Buffer;
  key: string | Buffer;
  /** When given, clients must show a certificate that it signed. */
  clientCa?: string | Buffer;
};

export type GrpcServerOptions = {
  log: Logger;
  metrics: Registry;
  /** Largest message taken, compressed and decompressed. */
  maxMessageBytes: number;
  /** Largest sum of the requests that calls under way hold; above it, calls end with RESOURCE_EXHAUSTED. Default 512 MB. */
  maxHeldBytes?: number;
  snappy?: SnappyFrameDecoder;
  classify?: ErrorClassifier;
  tls?: GrpcServerTls;
  /** Milliseconds after which a connection is told to reconnect, with a tenth of jitter; 0 for never. */
  maxConnectionAgeMs?: number;
  /** While it gives a reason, calls other than health and reflection end with UNAVAILABLE and that reason. */
  unavailable?: () => string | undefined;
};

type Registered = { method: GrpcMethod; metrics: MethodMetrics; always: boolean };

const WINDOW_BYTES = 1 << 20;
const CONNECTION_WINDOW_BYTES = 16 << 20;
const MAX_HELD_BYTES = 512 << 20;
/** Streams of one connection at a time. */
const MAX_STREAMS = 1000;

export class GrpcServer {
  readonly #options: GrpcServerOptions;
  readonly #methods = new Map<string, Registered>();
  readonly #methodMetrics: ReturnType<typeof createGrpcServerMetrics>;
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #calls = new Set<ServerCall>();
  readonly #budget: ReceiveBudget;
  readonly #buffers = new MessageBuffers();
  readonly #server: Http2Server | Http2SecureServer;

  constructor(options: GrpcServerOptions) {
    this.#options = options;
    this.#budget = { held: 0, max: options.maxHeldBytes ?? MAX_HELD_BYTES };
    this.#methodMetrics = createGrpcServerMetrics(options.metrics);
    const settings = {
      // One frame for most messages: HTTP/2's 16 KB make a 1 MB message 64 events.
      settings: {
        initialWindowSize: WINDOW_BYTES,
        maxFrameSize: WINDOW_BYTES,
        maxConcurrentStreams: MAX_STREAMS,
        maxHeaderListSize: 64 * 1024,
        enablePush: false,
      },
      maxSessionMemory: 256,
    };
    const { tls } = options;
    this.#server =
      tls === undefined
        ? http2.createServer(settings)
        : http2.createSecureServer({
            ...settings,
            cert: tls.cert,
            key: tls.key,
            allowHTTP1: false,
            ...(tls.clientCa === undefined
              ? {}
              : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          });
    this.#server.on("session", (session) => this.#open(session));
    this.#server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
      this.#serve(stream, headers),
    );
    this.#server.on("sessionError", (error) =>
      options.log.debug("gRPC connection", { err: error }),
    );
    this.#server.on("tlsClientError", (error) => options.log.debug("gRPC TLS", { err: error }));
  }

  /** Services that are there. */
  get services(): readonly string[] {
    const names = [...this.#methods.keys()].map((path) => path.split("/")[1] ?? "");
    return [...new Set(names)].sort();
  }

  /** A path given before is replaced. */
  add(methods: GrpcMethods): void {
    for (const [path, method] of Object.entries(methods)) this.#register(path, method, false);
  }

  /** Methods that answer while the component is unavailable too: health, reflection. */
  addAlways(methods: GrpcMethods): void {
    for (const [path, method] of Object.entries(methods)) this.#register(path, method, true);
  }

  /** @returns the address that it listens on. @throws {ListenError} */
  async listen(address: string): Promise<string> {
    const bound = await listen(this.#server, address);
    this.#options.log.info("listening for requests", { address: bound, protocol: "gRPC" });
    return bound;
  }

  /** New certificates, for connections from now on. Without TLS at the start, nothing changes. */
  setTls({ cert, key, clientCa }: GrpcServerTls): void {
    if (!("setSecureContext" in this.#server)) return;
    this.#server.setSecureContext({
      cert,
      key,
      ...(clientCa === undefined ? {} : { ca: clientCa }),
    });
  }

  /** Says GOAWAY, waits for calls under way, and ends what is left after `graceMs` with UNAVAILABLE. */
  async stop(graceMs: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const session of this.#sessions) session.close();
    const force = setTimeout(() => {
      this.#options.log.warn("grace period is over, ending gRPC calls", {
        calls: this.#calls.size,
      });
      for (const call of this.#calls) call.abandon();
      // The trailers written just now get one turn of the loop to leave.
      setImmediate(() => {
        for (const session of this.#sessions) session.destroy();
      });
    }, graceMs);
    await closed;
    clearTimeout(force);
  }

  #register(path: string, method: GrpcMethod, always: boolean): void {
    this.#methods.set(path, { method, always, metrics: this.#methodMetrics(path, method.kind) });
  }

  #open(session: ServerHttp2Session): void {
    this.#sessions.add(session);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on("error", (error) => this.#options.log.debug("gRPC connection", { err: error }));
    const age = this.#options.maxConnectionAgeMs ?? 0;
    // Jittered, or all clients of a restarted server would reconnect in the same second.
    const timer =
      age > 0 ? setTimeout(() => session.close(), age * (0.9 + Math.random() * 0.2)) : undefined;
    timer?.unref();
    session.once("close", () => {
      clearTimeout(timer);
      this.#sessions.delete(session);
    });
  }

  #serve(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const contentType = headers["content-type"] ?? "";
    if (headers[":method"] !== "POST" || !contentType.startsWith("application/grpc")) {
      stream.on("error", () => {});
      stream.respond({ ":status": headers[":method"] === "POST" ? 415 : 405 }, { endStream: true });
      return;
    }
    const path = headers[":path"] ?? "";
    const registered = this.#methods.get(path);
    const reason = registered?.always === true ? undefined : this.#options.unavailable?.();
    if (reason !== undefined) return refuse(stream, GrpcStatus.UNAVAILABLE, reason);
    if (registered === undefined) {
      return refuse(stream, GrpcStatus.UNIMPLEMENTED, `unknown method ${path.slice(0, 200)}`);
    }
    const { maxMessageBytes, snappy, classify } = this.#options;
    const codes = (error: unknown) => errorCodes(error, classify);
    const limits = { maxMessageBytes, budget: this.#budget, buffers: this.#buffers, snappy, codes };
    const call = new ServerCall(stream, headers, limits, registered.metrics);
    this.#calls.add(call);
    stream.once("close", () => this.#calls.delete(call));
    // `run` never rejects: what the handler throws is the call's status.
    void call.run(registered.method, headers, peerOf(stream));
  }
}

function refuse(stream: ServerHttp2Stream, code: GrpcStatus, message: string): void {
  stream.on("error", () => {});
  stream.resume();
  stream.respond(
    { ":status": 200, "content-type": "application/grpc", ...statusTrailers(code, message) },
    { endStream: true },
  );
}

function peerOf(stream: ServerHttp2Stream): string {
  const socket = stream.session?.socket;
  const { remoteAddress, remotePort } = socket ?? {};
  if (remoteAddress === undefined || remotePort === undefined) return "";
  return formatAddress({ host: remoteAddress, port: remotePort });
}
