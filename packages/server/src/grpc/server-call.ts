/**
 * One call on the server, from its HEADERS frame to its trailers. Whatever the peer sends and whatever the handler
 * throws ends in a status, or in a reset stream when the peer is gone.
 */

import {
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { ErrorCodes } from "../error-codes.ts";
import { acceptedEncodings, decompress, type SnappyFrameDecoder } from "./compression.ts";
import { type Frame, FrameReader, writeFrame } from "./framing.ts";
import type { MessageBuffers } from "./message-buffers.ts";
import { parseTimeout, readMetadata, statusTrailers } from "./metadata.ts";
import type { MethodMetrics } from "./server-metrics.ts";
import {
  type GrpcCall,
  GrpcError,
  type GrpcMethod,
  GrpcStatus,
  REUSABLE_BYTES,
  type UnaryHandler,
} from "./service.ts";

/** What a Buffer costs besides its bytes: a request in frames of one byte is held to the limit too. */
const CHUNK_OVERHEAD = 256;

/** Bytes of requests that a server holds: those of all calls that have not ended. */
export type ReceiveBudget = { held: number; readonly max: number };

export type CallLimits = {
  maxMessageBytes: number;
  budget: ReceiveBudget;
  buffers: MessageBuffers;
  snappy: SnappyFrameDecoder | undefined;
  codes: (error: unknown) => ErrorCodes;
};

export class ServerCall {
  readonly #stream: ServerHttp2Stream;
  readonly #limits: CallLimits;
  readonly #metrics: MethodMetrics;
  /** Made when a handler asks for its signal: most calls end without. */
  #abort: AbortController | undefined;
  /** Why the call ended other than well. */
  #ended: GrpcError | undefined;
  #onAborted: (() => void) | undefined;
  readonly #startedAt = performance.now();
  readonly #encoding: string;
  #deadline: NodeJS.Timeout | undefined;
  #finished = false;
  #received = 0;
  /** What holds the request, where it came in several chunks. */
  #joined: Uint8Array | undefined;

  constructor(
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    limits: CallLimits,
    metrics: MethodMetrics,
  ) {
    this.#stream = stream;
    this.#limits = limits;
    this.#metrics = metrics;
    const encoding = headers["grpc-encoding"];
    this.#encoding = typeof encoding === "string" ? encoding : "identity";
    metrics.started();
    // Without a listener an error of the stream would end the process; what it means, "close" tells.
    stream.on("error", () => {});
    stream.once("close", () => {
      limits.budget.held -= this.#received;
      this.#received = 0;
      if (this.#finished) return;
      this.#end(GrpcStatus.CANCELLED);
      this.#stop(new GrpcError(GrpcStatus.CANCELLED, "the caller is gone"));
    });
  }

  async run(method: GrpcMethod, headers: IncomingHttpHeaders, peer: string): Promise<void> {
    try {
      this.#checkEncoding();
      this.#startDeadline(headers);
      const signal = () => this.#signal();
      const call = {
        metadata: readMetadata(headers),
        get signal() {
          return signal();
        },
        peer,
      };
      if (method.kind === "bidi") {
        await this.#sendAll(method.handler(this.#messages(), call));
      } else {
        const request = await this.#onlyMessage();
        if (method.kind === "unary") await this.#answer(method.handler, request, call);
        else await this.#sendAll(method.handler(request, call));
      }
      this.finish(GrpcStatus.OK, "");
    } catch (error) {
      const { grpc, message } = this.#limits.codes(error);
      this.finish(grpc, message);
    }
  }

  async #answer(handler: UnaryHandler, request: Uint8Array, call: GrpcCall): Promise<void> {
    let answer: Uint8Array | undefined;
    try {
      answer = await handler(request, call);
      this.#send(answer);
    } finally {
      const buffer = this.#joined;
      // An answer that lies in it is still on its way.
      if (buffer !== undefined && answer?.buffer !== buffer.buffer) {
        this.#limits.buffers.give(buffer);
      }
    }
  }

  /** Ends the call with a status, unless it has ended. The handler, when it still runs, sees its signal abort. */
  finish(code: GrpcStatus, message: string): void {
    if (this.#finished) return;
    this.#end(code);
    const stream = this.#stream;
    if (code !== GrpcStatus.OK) this.#stop(new GrpcError(code, message));
    if (stream.destroyed || stream.closed) return;
    const trailers = statusTrailers(code, message);
    if (!stream.headersSent) {
      stream.respond({ ...this.#responseHeaders(), ...trailers }, { endStream: true });
      this.#discardRequest();
      return;
    }
    stream.once("wantTrailers", () => {
      stream.sendTrailers(trailers);
      this.#discardRequest();
    });
    stream.end();
  }

  /** Stops the handler because the server stops. */
  abandon(): void {
    this.finish(GrpcStatus.UNAVAILABLE, "server is shutting down");
  }

  #signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#ended !== undefined) this.#abort.abort(this.#ended);
    return this.#abort.signal;
  }

  #stop(reason: GrpcError): void {
    this.#ended = reason;
    this.#abort?.abort(reason);
    this.#onAborted?.();
  }

  #end(code: GrpcStatus): void {
    if (this.#finished) return;
    this.#finished = true;
    clearTimeout(this.#deadline);
    this.#metrics.handled(code, (performance.now() - this.#startedAt) / 1000);
  }

  /** A request that is not read to its end is told to stop (RFC 9113, 8.1), else it would hold the stream open. */
  #discardRequest(): void {
    const stream = this.#stream;
    if (stream.readableEnded) return;
    setImmediate(() => {
      if (!stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
    });
  }

  #responseHeaders(): OutgoingHttpHeaders {
    return {
      ":status": 200,
      "content-type": "application/grpc",
      "grpc-accept-encoding": acceptedEncodings(this.#limits.snappy),
    };
  }

  #checkEncoding(): void {
    if (this.#encoding === "identity") return;
    const accepted = acceptedEncodings(this.#limits.snappy).split(",");
    if (!accepted.includes(this.#encoding)) {
      throw new GrpcError(
        GrpcStatus.UNIMPLEMENTED,
        `unsupported encoding "${this.#encoding}", this server takes ${accepted.join(", ")}`,
      );
    }
  }

  #startDeadline(headers: IncomingHttpHeaders): void {
    const header = headers["grpc-timeout"];
    const ms = parseTimeout(typeof header === "string" ? header : undefined);
    if (ms === undefined) return;
    // Timers hold 31 bits; a longer deadline is none.
    if (ms >= 2 ** 31) return;
    this.#deadline = setTimeout(() => {
      this.finish(GrpcStatus.DEADLINE_EXCEEDED, "context deadline exceeded");
    }, ms);
  }

  async #open(frame: Frame): Promise<Uint8Array> {
    this.#metrics.messageReceived();
    if (!frame.compressed) return frame.message;
    const { maxMessageBytes, snappy } = this.#limits;
    return decompress(this.#encoding, frame.message, maxMessageBytes, snappy);
  }

  async *#messages(): AsyncGenerator<Uint8Array> {
    const reader = new FrameReader(this.#limits.maxMessageBytes);
    const chunks: AsyncIterable<Uint8Array> = this.#stream.iterator({ destroyOnReturn: false });
    for await (const chunk of chunks) {
      this.#hold(chunk.length + CHUNK_OVERHEAD);
      for (const frame of reader.push(chunk)) yield await this.#open(frame);
      if (reader.isPartial) continue;
      this.#limits.budget.held -= this.#received;
      this.#received = 0;
    }
    if (reader.isPartial) throw cutShort();
  }

  /** The request of a call that has one. Events instead of an iterator: it halves the cost of a small call. */
  async #onlyMessage(): Promise<Uint8Array> {
    const stream = this.#stream;
    const frame = await new Promise<Frame>((resolve, reject) => {
      const { buffers, maxMessageBytes } = this.#limits;
      const take = (size: number) => (this.#joined = buffers.take(size));
      const reader = new FrameReader(maxMessageBytes, take);
      let only: Frame | undefined;
      stream.on("data", (chunk: Buffer) => {
        if (this.#finished) return;
        try {
          this.#hold(chunk.length + CHUNK_OVERHEAD);
          for (const next of reader.push(chunk)) {
            if (only !== undefined) throw tooMany();
            only = next;
          }
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      });
      stream.once("end", () => {
        if (reader.isPartial) reject(cutShort());
        else if (only === undefined) {
          reject(new GrpcError(GrpcStatus.INTERNAL, "the call has no request message"));
        } else resolve(only);
      });
      this.#onAborted = () => {
        reject(new GrpcError(GrpcStatus.CANCELLED, "the call ended before its request was read"));
      };
    });
    this.#onAborted = undefined;
    return this.#open(frame);
  }

  /** @throws {GrpcError} RESOURCE_EXHAUSTED when the server holds as much as it may. */
  #hold(size: number): void {
    const { budget } = this.#limits;
    this.#received += size;
    budget.held += size;
    if (budget.held <= budget.max) return;
    throw new GrpcError(
      GrpcStatus.RESOURCE_EXHAUSTED,
      `requests under way hold more than ${budget.max} bytes`,
    );
  }

  /** Returns false when the socket has enough for now. */
  #send(message: Uint8Array): boolean {
    const stream = this.#stream;
    if (this.#finished || stream.destroyed || stream.closed) return true;
    if (!stream.headersSent) stream.respond(this.#responseHeaders(), { waitForTrailers: true });
    this.#metrics.messageSent();
    return writeFrame(stream, [message]);
  }

  async #sendAll(messages: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const message of messages) {
      // Leaving the loop runs the handler's `finally`.
      if (this.#finished) return;
      const hasRoom = this.#send(message);
      if (!hasRoom || message.length >= REUSABLE_BYTES) await this.#drained();
    }
    // An empty stream has headers of its own too: some clients take trailers alone for an error.
    if (!this.#finished && !this.#stream.headersSent && !this.#stream.destroyed) {
      this.#stream.respond(this.#responseHeaders(), { waitForTrailers: true });
    }
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#stream.off("drain", done);
        this.#onAborted = undefined;
        resolve();
      };
      if (this.#ended !== undefined) resolve();
      this.#stream.once("drain", done);
      this.#onAborted = done;
    });
  }
}

function cutShort(): GrpcError {
  return new GrpcError(GrpcStatus.INTERNAL, "the request ended inside a message");
}

function tooMany(): GrpcError {
  return new GrpcError(GrpcStatus.INTERNAL, "the call has more than one request message");
}
