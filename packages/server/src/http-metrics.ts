/** Thanos' metrics of an HTTP listener, by handler (the route's path, or the name it was mounted with), method and code. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Request } from "express";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

export type HttpMetrics = {
  requests: Counter<"code" | "handler" | "method">;
  duration: Histogram<"code" | "handler" | "method">;
  inflight: Gauge<"method">;
};

/** One for all listeners of a process. */
export function createHttpMetrics(registry: Registry): HttpMetrics {
  const labelNames = ["code", "handler", "method"] as const;
  const registers = [registry];
  return {
    requests: new Counter({
      name: "http_requests_total",
      help: "Tracks the number of HTTP requests.",
      labelNames,
      registers,
    }),
    duration: new Histogram({
      name: "http_request_duration_seconds",
      help: "Tracks the latencies for HTTP requests.",
      labelNames,
      buckets: [0.001, 0.01, 0.1, 0.3, 0.6, 1, 2, 3, 6, 9, 20, 30, 60, 90, 120, 240, 360, 720],
      registers,
    }),
    inflight: new Gauge({
      name: "http_inflight_requests",
      help: "Current number of HTTP requests the handler is responding to.",
      labelNames: ["method"],
      registers,
    }),
  };
}

const METHODS = new Set(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]);

/** Counts a request when its answer is out. `handler` is undefined for express, whose route is known only then. */
export function observeHttp(
  metrics: HttpMetrics,
  request: IncomingMessage,
  response: ServerResponse,
  handler: string | undefined,
): void {
  const start = performance.now();
  // Label values that a caller chooses must not grow without bound.
  const method = METHODS.has(request.method ?? "") ? (request.method ?? "").toLowerCase() : "other";
  metrics.inflight.inc({ method });
  response.once("close", () => {
    metrics.inflight.dec({ method });
    const code = response.writableFinished ? String(response.statusCode) : "499";
    const labels = { code, handler: handler ?? routeOf(request), method };
    metrics.requests.inc(labels);
    metrics.duration.observe(labels, (performance.now() - start) / 1000);
  });
}

/** The pattern of the express route that answered, "other" for paths nobody knows. */
function routeOf(request: IncomingMessage): string {
  const route: unknown = (request as Partial<Request>).route;
  if (typeof route !== "object" || route === null || !("path" in route)) return "other";
  return typeof route.path === "string" ? route.path : "other";
}
