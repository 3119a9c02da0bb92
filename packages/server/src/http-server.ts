/**
 * One HTTP listener. Paths with a raw handler never meet express: the write path reads its request stream itself,
 * and pays for nothing else. Everything else is express: `/-/healthy`, `/-/ready`, `/metrics` and what a component
 * mounts on `app`. Unknown paths answer as Go's mux does, `404 page not found` in plain text.
 */

import http, { type IncomingMessage, type ServerResponse } from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import express, { type Express, type Request, type Response } from "express";
import { CodedError, type ErrorClassifier, errorCodes } from "./error-codes.ts";
import { type HttpMetrics, observeHttp } from "./http-metrics.ts";
import { listen } from "./listen.ts";
import type { Logger } from "./log.ts";
import type { WebGuard } from "./web-guard.ts";

/**
 * Answers one request by itself. `url` is the part before "?". What it throws becomes a status by `errorCodes`
 * when nothing was answered yet.
 */
export type RawHandler = (
  request: IncomingMessage,
  response: ServerResponse,
) => void | Promise<void>;

type RawRoute = { methods: ReadonlySet<string>; handler: RawHandler; name: string };

export type HttpServerOptions = {
  log: Logger;
  metrics: HttpMetrics;
  /** Milliseconds in which a request's headers must be complete. */
  headersTimeoutMs?: number;
  /** Milliseconds in which a whole request must be received; 0 for none. */
  requestTimeoutMs?: number;
  /** Connections at most; those above are closed at once. */
  maxConnections?: number;
  classify?: ErrorClassifier;
  /** TLS and authentication; without it, neither. */
  guard?: WebGuard | undefined;
};

const RETRY_AFTER_SECONDS = 5;

export class HttpServer {
  readonly app: Express = express();
  readonly #server: http.Server | https.Server;
  readonly #raw = new Map<string, RawRoute>();
  readonly #sockets = new Set<Socket>();
  readonly #options: HttpServerOptions;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.app.disable("x-powered-by");
    this.app.disable("etag");
    this.app.set("query parser", "simple");
    const settings = {
      // A scraper or sender keeps its connection; 5 s, Node's default, makes it reconnect at each scrape.
      keepAliveTimeout: 120_000,
      headersTimeout: options.headersTimeoutMs ?? 30_000,
      requestTimeout: options.requestTimeoutMs ?? 300_000,
      // Node collects a request's headers in at most so many bytes, and answers 431 above.
      maxHeaderSize: 64 * 1024,
      noDelay: true,
    };
    const { guard } = options;
    const tls = guard?.tls ?? null;
    if (tls === null) this.#server = http.createServer(settings);
    else {
      const server = https.createServer({ ...settings, ...tls });
      guard?.onContext((context) => server.setSecureContext(context));
      server.prependListener("secureConnection", (socket: TLSSocket) => {
        if (guard?.admitsConnection(socket) === false) socket.destroy();
      });
      server.on("tlsClientError", (error) => options.log.debug("TLS", { err: error }));
      this.#server = server;
    }
    this.#server.maxConnections = options.maxConnections ?? 10_000;
    this.#server.on("request", (request, response) => this.#dispatch(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
  }

  /**
   * Mounts a handler at an exact path, before express. Other methods on the path answer 405.
   *
   * @param name Label `handler` of its metrics.
   */
  raw(path: string, methods: readonly string[], handler: RawHandler, name = path): void {
    this.#raw.set(path, { methods: new Set(methods), handler, name });
  }

  /** @returns the address that it listens on. @throws {ListenError} */
  async listen(address: string): Promise<string> {
    const bound = await listen(this.#server, address);
    this.#options.log.info("listening for requests", { address: bound, protocol: "http" });
    return bound;
  }

  /** Takes no new connection, waits for requests under way, and closes what is left after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      this.#options.log.warn("grace period is over, closing connections", {
        connections: this.#sockets.size,
      });
      this.#server.closeAllConnections();
    }, graceMs);
    await closed;
    clearTimeout(timer);
  }

  #dispatch(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? "/";
    const query = url.indexOf("?");
    const path = query === -1 ? url : url.slice(0, query);
    const raw = this.#raw.get(path);
    observeHttp(this.#options.metrics, request, response, raw?.name);
    response.once("close", () => {
      // The connection of a request that was under way when the stop began is idle only now.
      if (!this.#server.listening) setImmediate(() => this.#server.closeIdleConnections());
    });
    const admitted = this.#options.guard?.admit(request, response) ?? true;
    if (admitted === true) this.#route(request, response, raw);
    else if (admitted !== false) {
      admitted
        .then((passes) => {
          if (passes) this.#route(request, response, raw);
        })
        .catch((error: unknown) => this.#fail(error, request, response));
    }
  }

  #route(request: IncomingMessage, response: ServerResponse, raw: RawRoute | undefined): void {
    if (raw === undefined) {
      // The last callback instead of a last route: components mount theirs while the server already answers.
      this.app(request as Request, response as Response, (error?: unknown) => {
        if (error === undefined) notFound(response);
        else this.#fail(error, request, response);
      });
      return;
    }
    if (!raw.methods.has(request.method ?? "")) {
      response.writeHead(405, { allow: [...raw.methods].join(", ") }).end("Method Not Allowed\n");
      return;
    }
    // An async function, so that what a handler throws before its first await is caught too.
    const run = async () => raw.handler(request, response);
    run().catch((error: unknown) => this.#fail(error, request, response));
  }

  #fail(error: unknown, request: IncomingMessage, response: ServerResponse): void {
    const codes = expressStatus(error) ?? errorCodes(error, this.#options.classify);
    if (codes.http >= 500) {
      this.#options.log.error("request", { method: request.method, url: request.url, err: error });
    }
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    response.statusCode = codes.http === 499 ? 503 : codes.http;
    // Whoever is told to come again is told when.
    if (response.statusCode === 429 || response.statusCode === 503) {
      const seconds = error instanceof CodedError ? error.retryAfterSeconds : undefined;
      response.setHeader("retry-after", seconds ?? RETRY_AFTER_SECONDS);
    }
    response.setHeader("content-type", "text/plain; charset=utf-8");
    response.setHeader("x-content-type-options", "nosniff");
    response.end(`${codes.message}\n`);
  }
}

export function notFound(response: ServerResponse): void {
  response.statusCode = 404;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("x-content-type-options", "nosniff");
  response.end("404 page not found\n");
}

/** Errors of express itself (a path that is no UTF-8, a body that is too large) carry their status. */
function expressStatus(error: unknown): { http: number; message: string } | undefined {
  if (!(error instanceof Error) || !("status" in error)) return undefined;
  const { status } = error;
  if (typeof status !== "number" || status < 400 || status > 499) return undefined;
  return { http: status, message: error.message };
}
