/**
 * The write path's gRPC client: one HTTP/2 connection to one address, over node:http2. A request is given in parts
 * and written in parts. A connection is made when a call needs it; after a failed one, calls fail at once with
 * UNAVAILABLE until the back-off is over, so that a dead peer costs its callers nothing.
 */

import http2, { type ClientHttp2Session, type ClientHttp2Stream, constants } from "node:http2";
import { isIP } from "node:net";
import { parseAddress } from "../listen.ts";
import { FrameReader, writeFrame } from "./framing.ts";
import { formatTimeout, readStatus } from "./metadata.ts";
import {
  ConnectionLostError,
  type DuplexCall,
  type DuplexEvents,
  type DuplexGrpcClient,
  type GrpcCallOptions,
  GrpcError,
  GrpcStatus,
} from "./service.ts";

export type GrpcClientOptions = {
  /** Largest answer taken. */
  maxMessageBytes: number;
  connectTimeoutMs?: number;
  /**
   * A peer that let a deadline pass, or that a call waits for longer than `keepaliveMs` (15 s), is pinged; without
   * an answer within `keepaliveTimeoutMs` (5 s) the connection is given up. A host that vanished sends no reset.
   */
  keepaliveMs?: number;
  keepaliveTimeoutMs?: number;
  /** The first wait after a failed connection, and the longest; each is 1.6 times the last, with a fifth of jitter. */
  backoffBaseMs?: number;
  backoffMaxMs?: number;
  tls?: {
    ca?: string | Buffer;
    cert?: string | Buffer;
    key?: string | Buffer;
    serverName?: string;
    skipVerify?: boolean;
  };
  /** Of the requests of unary calls; without it they go as they are. */
  compression?: RequestCompression;
  now?: () => number;
};

export type RequestCompression = {
  /** Value of grpc-encoding. */
  encoding: string;
  compress: (message: Uint8Array) => Uint8Array;
};

const WINDOW_BYTES = 1 << 20;
const CONNECTION_WINDOW_BYTES = 16 << 20;

/** Messages of a stream that wait for their reader; with more it is not read on. */
const MOST_HELD_BYTES = 1 << 20;

export function createGrpcClient(address: string, options: GrpcClientOptions): DuplexGrpcClient {
  return new Http2GrpcClient(address, options);
}

class Http2GrpcClient implements DuplexGrpcClient {
  readonly address: string;
  readonly #options: GrpcClientOptions;
  readonly #now: () => number;
  #session: ClientHttp2Session | undefined;
  #failures = 0;
  #retryAt = 0;
  #lastError = "";
  #closed = false;
  #calls = 0;
  readonly #pinged = new WeakSet<ClientHttp2Session>();

  constructor(address: string, options: GrpcClientOptions) {
    this.address = address;
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  unary(
    path: string,
    request: Uint8Array | readonly Uint8Array[],
    options: GrpcCallOptions,
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const { compression } = this.#options;
      const call = this.#start(path, options, compression?.encoding);
      const reader = new FrameReader(this.#options.maxMessageBytes);
      let answer: Uint8Array | undefined;
      call.stream.on("data", (chunk: Buffer) => {
        try {
          for (const frame of reader.push(chunk)) {
            if (frame.compressed || answer !== undefined) {
              throw new GrpcError(
                GrpcStatus.INTERNAL,
                frame.compressed ? "answer is compressed" : "more than one answer",
              );
            }
            answer = frame.message;
          }
        } catch (error) {
          call.cancel(error);
        }
      });
      call.onEnd((error) => {
        if (error !== undefined) reject(error);
        else if (answer === undefined) {
          reject(new GrpcError(GrpcStatus.INTERNAL, `${this.address}: the call has no answer`));
        } else resolve(answer);
      });
      const parts = request instanceof Uint8Array ? [request] : request;
      if (compression === undefined) writeFrame(call.stream, parts);
      else {
        const whole = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
        writeFrame(call.stream, [compression.compress(whole)], true);
      }
      call.stream.end();
    });
  }

  async *serverStream(
    path: string,
    request: Uint8Array,
    options: GrpcCallOptions,
  ): AsyncGenerator<Uint8Array> {
    const call = this.#start(path, options);
    const { stream } = call;
    const reader = new FrameReader(this.#options.maxMessageBytes);
    // Events instead of the stream's own iterator, which costs more than a small answer.
    const messages: Uint8Array[] = [];
    let held = 0;
    let wake = (): void => undefined;
    let end: { error: GrpcError | undefined } | null = null;
    stream.on("data", (chunk: Buffer) => {
      try {
        for (const { compressed, message } of reader.push(chunk)) {
          if (compressed) throw new GrpcError(GrpcStatus.INTERNAL, "answer is compressed");
          messages.push(message);
          held += message.length;
        }
      } catch (error) {
        call.cancel(error);
      }
      if (held > MOST_HELD_BYTES) stream.pause();
      if (messages.length > 0) wake();
    });
    call.onEnd((error) => {
      end = { error };
      wake();
    });
    writeFrame(stream, [request]);
    stream.end();
    try {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) {
          held -= message.length;
          if (stream.isPaused() && held <= MOST_HELD_BYTES / 2) stream.resume();
          yield message;
          continue;
        }
        if (end !== null) break;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    } finally {
      if (end === null) {
        call.cancel(new GrpcError(GrpcStatus.CANCELLED, "the reader left the stream"));
      }
    }
    const { error } = end as { error: GrpcError | undefined };
    if (error !== undefined) throw error;
    if (reader.isPartial) {
      throw new GrpcError(GrpcStatus.INTERNAL, `${this.address}: the answer ends inside a message`);
    }
  }

  duplex(path: string, events: DuplexEvents, options: GrpcCallOptions): DuplexCall {
    const call = this.#start(path, options);
    const { session, stream } = call;
    const reader = new FrameReader(this.#options.maxMessageBytes);
    const onGoAway = () => events.onGoAway();
    session.once("goaway", onGoAway);
    stream.on("data", (chunk: Buffer) => {
      try {
        for (const frame of reader.push(chunk)) {
          if (frame.compressed) throw new GrpcError(GrpcStatus.INTERNAL, "answer is compressed");
          events.onMessage(frame.message);
        }
      } catch (error) {
        call.cancel(asGrpcError(error, this.address));
      }
    });
    // The peer has told its status: the call is over, whatever we would still say.
    stream.once("end", () => stream.end());
    call.onEnd((error) => {
      session.off("goaway", onGoAway);
      events.onEnd(error);
    });
    return {
      write: (parts) => stream.writable && writeFrame(stream, parts),
      end: () => void stream.end(),
      cancel: (error) => call.cancel(error),
    };
  }

  close(): void {
    this.#closed = true;
    this.#session?.close();
    this.#session = undefined;
  }

  /** @throws {GrpcError} */
  #start(path: string, options: GrpcCallOptions, encoding?: string): ClientCall {
    if (options.signal?.aborted === true) {
      throw new GrpcError(GrpcStatus.CANCELLED, "the call was cancelled before it began");
    }
    const session = this.#connected();
    const headers = {
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      "grpc-accept-encoding": "identity",
      ...(encoding === undefined ? {} : { "grpc-encoding": encoding }),
      "user-agent": "torus",
      ...(options.timeoutMs > 0 ? { "grpc-timeout": formatTimeout(options.timeoutMs) } : {}),
      ...options.metadata,
    };
    let stream: ClientHttp2Stream;
    try {
      stream = session.request(headers);
    } catch (error) {
      // A session that ended a moment ago, or metadata that no header can hold.
      const gone = session.closed || session.destroyed;
      const code = gone ? GrpcStatus.UNAVAILABLE : GrpcStatus.INVALID_ARGUMENT;
      throw new GrpcError(code, `${this.address}: begin call ${path}`, { cause: error });
    }
    this.#calls++;
    stream.once("close", () => this.#calls--);
    return new ClientCall(stream, session, this.address, options, () => this.#ping(session));
  }

  /** Gives the connection up when the peer does not answer. One ping at a time. */
  #ping(session: ClientHttp2Session): void {
    if (session.destroyed || session.connecting || this.#pinged.has(session)) return;
    const timeoutMs = this.#options.keepaliveTimeoutMs ?? 5000;
    const timer = setTimeout(() => {
      session.destroy(new Error(`no answer to a ping within ${timeoutMs} ms`));
    }, timeoutMs);
    timer.unref();
    this.#pinged.add(session);
    session.once("close", () => clearTimeout(timer));
    session.ping(() => {
      clearTimeout(timer);
      this.#pinged.delete(session);
    });
  }

  #connected(): ClientHttp2Session {
    if (this.#closed) throw new GrpcError(GrpcStatus.CANCELLED, "the client is closed");
    const current = this.#session;
    if (current !== undefined && !current.closed && !current.destroyed) return current;
    if (this.#now() < this.#retryAt) {
      throw new GrpcError(
        GrpcStatus.UNAVAILABLE,
        `${this.address}: waiting to reconnect, last error: ${this.#lastError}`,
      );
    }
    return this.#connect();
  }

  #connect(): ClientHttp2Session {
    const { tls } = this.#options;
    const session = http2.connect(`${tls === undefined ? "http" : "https"}://${this.address}`, {
      settings: { initialWindowSize: WINDOW_BYTES, maxFrameSize: WINDOW_BYTES, enablePush: false },
      maxSessionMemory: 256,
      ...(tls === undefined
        ? {}
        : {
            ...(tls.ca === undefined ? {} : { ca: tls.ca }),
            ...(tls.cert === undefined ? {} : { cert: tls.cert }),
            ...(tls.key === undefined ? {} : { key: tls.key }),
            servername: tls.serverName ?? serverNameOf(this.address),
            rejectUnauthorized: tls.skipVerify !== true,
          }),
    });
    const timeoutMs = this.#options.connectTimeoutMs ?? 5000;
    const timer = setTimeout(() => {
      session.destroy(new Error(`no connection within ${timeoutMs} ms`));
    }, timeoutMs);
    const keepalive = setInterval(() => {
      // Go's servers end a connection that is pinged while it carries no call.
      if (this.#calls > 0) this.#ping(session);
    }, this.#options.keepaliveMs ?? 15_000);
    keepalive.unref();
    session.once("connect", () => {
      clearTimeout(timer);
      this.#failures = 0;
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    });
    session.on("error", (error) => {
      this.#lastError = error.message === "" ? String(error) : error.message;
    });
    session.once("close", () => {
      clearTimeout(timer);
      clearInterval(keepalive);
      if (this.#session !== session) return;
      this.#session = undefined;
      // A connection that was up and ended is made again at once; one that never came up waits.
      if (session.connecting || session.socket === undefined || this.#lastError !== "") {
        this.#backOff();
      }
    });
    session.once("goaway", () => {
      // Calls under way may end; new ones need a new connection.
      if (this.#session === session) this.#session = undefined;
    });
    this.#session = session;
    this.#lastError = "";
    return session;
  }

  #backOff(): void {
    const base = this.#options.backoffBaseMs ?? 100;
    const max = this.#options.backoffMaxMs ?? 5000;
    const wait = Math.min(max, base * 1.6 ** this.#failures++);
    this.#retryAt = this.#now() + wait * (0.8 + Math.random() * 0.4);
  }
}

function asGrpcError(error: unknown, address: string): GrpcError {
  if (error instanceof GrpcError) return error;
  return new GrpcError(GrpcStatus.INTERNAL, `${address}: read an answer`, { cause: error });
}

/** The host to name in TLS (SNI); an IP address has none to name, but is checked against the certificate. */
function serverNameOf(address: string): string {
  const { host } = parseAddress(address);
  return isIP(host) === 0 ? host : "";
}

/** A call under way: its deadline, its cancellation, and the one status that it ends with. */
class ClientCall {
  readonly stream: ClientHttp2Stream;
  readonly session: ClientHttp2Session;
  readonly #address: string;
  #end: ((error: GrpcError | undefined) => void) | undefined;
  #result: { error: GrpcError | undefined } | undefined;
  #transportError: Error | undefined;
  #httpStatus = 200;

  /** @param onDeadline Called when the deadline passes before the call ended. */
  constructor(
    stream: ClientHttp2Stream,
    session: ClientHttp2Session,
    address: string,
    options: GrpcCallOptions,
    onDeadline: () => void,
  ) {
    this.stream = stream;
    this.session = session;
    this.#address = address;
    const { signal, timeoutMs } = options;
    // Timers hold 31 bits; a longer deadline is none.
    const limited = timeoutMs > 0 && timeoutMs < 2 ** 31;
    const deadline = limited
      ? setTimeout(() => {
          const text = `${address}: context deadline exceeded`;
          this.cancel(new GrpcError(GrpcStatus.DEADLINE_EXCEEDED, text));
          onDeadline();
        }, timeoutMs)
      : undefined;
    const onAbort = () =>
      this.cancel(new GrpcError(GrpcStatus.CANCELLED, "the call was cancelled"));
    signal?.addEventListener("abort", onAbort, { once: true });
    stream.on("response", (headers) => {
      this.#httpStatus = Number(headers[":status"]);
      const status = readStatus(headers);
      if (status !== undefined) this.#settle(status.code, status.message);
    });
    stream.on("trailers", (headers) => {
      const status = readStatus(headers);
      if (status !== undefined) this.#settle(status.code, status.message);
    });
    stream.on("error", (error: Error) => {
      this.#transportError ??= error;
    });
    stream.once("close", () => {
      clearTimeout(deadline);
      signal?.removeEventListener("abort", onAbort);
      this.#result ??= { error: this.#transportFailure() };
      this.#end?.(this.#result.error);
    });
  }

  onEnd(end: (error: GrpcError | undefined) => void): void {
    this.#end = end;
  }

  /** Ends the call with this error, unless it has a status. */
  cancel(error: unknown): void {
    if (error instanceof GrpcError) this.#result ??= { error };
    if (!this.stream.destroyed) this.stream.close(constants.NGHTTP2_CANCEL);
  }

  #settle(code: GrpcStatus, message: string): void {
    this.#result ??= { error: code === GrpcStatus.OK ? undefined : new GrpcError(code, message) };
  }

  /** The status of a stream that ended without one (PROTOCOL-HTTP2.md, "Errors"; http-grpc-status-mapping.md). */
  #transportFailure(): GrpcError {
    const cause = this.#transportError;
    if (this.#httpStatus !== 200) {
      const code = STATUS_OF_HTTP[this.#httpStatus] ?? GrpcStatus.UNKNOWN;
      return new GrpcError(code, `${this.#address}: HTTP status ${this.#httpStatus}`);
    }
    const rst = this.stream.rstCode;
    const text =
      cause?.message ?? (rst === undefined ? "connection lost" : `stream reset (${rst})`);
    const code = STATUS_OF_RESET[rst ?? -1] ?? GrpcStatus.UNAVAILABLE;
    return new ConnectionLostError(code, `${this.#address}: ${text}`, { cause });
  }
}

const STATUS_OF_RESET: Readonly<Record<number, GrpcStatus>> = {
  [constants.NGHTTP2_ENHANCE_YOUR_CALM]: GrpcStatus.RESOURCE_EXHAUSTED,
  [constants.NGHTTP2_INADEQUATE_SECURITY]: GrpcStatus.PERMISSION_DENIED,
  [constants.NGHTTP2_FLOW_CONTROL_ERROR]: GrpcStatus.INTERNAL,
  [constants.NGHTTP2_FRAME_SIZE_ERROR]: GrpcStatus.INTERNAL,
  [constants.NGHTTP2_COMPRESSION_ERROR]: GrpcStatus.INTERNAL,
};

const STATUS_OF_HTTP: Readonly<Record<number, GrpcStatus>> = {
  400: GrpcStatus.INTERNAL,
  401: GrpcStatus.UNAUTHENTICATED,
  403: GrpcStatus.PERMISSION_DENIED,
  404: GrpcStatus.UNIMPLEMENTED,
  429: GrpcStatus.UNAVAILABLE,
  502: GrpcStatus.UNAVAILABLE,
  503: GrpcStatus.UNAVAILABLE,
  504: GrpcStatus.UNAVAILABLE,
};
