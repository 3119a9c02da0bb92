/**
 * What every long-running component has in common: its flags, and a process that starts in order (log, metrics,
 * probes, the component's own parts, ready) and stops in the reverse order when a signal asks for it.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { createSecureContext } from "node:tls";
import { decodeSnappyFrames } from "@torus/encoding";
import { PROTO_FILES, protoDir } from "@torus/protocol";
import {
  ConfigError,
  createHttpMetrics,
  createLogger,
  createMetrics,
  type ErrorClassifier,
  errorText,
  GrpcServer,
  type GrpcServerTls,
  type HttpMetrics,
  HttpServer,
  healthMethods,
  Lifecycle,
  ListenError,
  LOG_FORMATS,
  LOG_LEVELS,
  type Logger,
  mountProbe,
  Probe,
  reflectionMethods,
  stopOnSignals,
  type TlsFiles,
  WebGuard,
} from "@torus/server";
import { Counter, type Registry } from "prom-client";
import { type CommandEnv, UsageError } from "./command.ts";
import { type Config, flag, flagGroup } from "./flags.ts";

/** The flags of every component, as Thanos names them. */
export const commonFlags = flagGroup("Process", {
  "log.level": flag.choice("Least level that is logged.", LOG_LEVELS, { default: "info" }),
  "log.format": flag.choice("Format of the log.", LOG_FORMATS, { default: "logfmt" }),
  "http-address": flag.string("Address of HTTP: probes, metrics and the component's own pages.", {
    default: "0.0.0.0:10902",
    placeholder: "HOST:PORT",
  }),
  "http.config": flag.string(
    "Prometheus' web configuration, with TLS and passwords for every HTTP port of the process; it is followed.",
    { default: "", placeholder: "FILE" },
  ),
  "http.access-file": flag.string(
    "Bearer tokens, certificates and users with the tenants that they may speak for; it is followed.",
    { default: "", placeholder: "FILE" },
  ),
  "tls-refresh-interval": flag.duration(
    "Time between two looks at certificates, passwords and tokens.",
    { default: "5s", hidden: true },
  ),
  "http-grace-period": flag.duration("Time that HTTP requests under way get at the end.", {
    default: "2m",
  }),
  "grpc-address": flag.string("Address of gRPC.", {
    default: "0.0.0.0:10901",
    placeholder: "HOST:PORT",
  }),
  "grpc-grace-period": flag.duration("Time that gRPC calls under way get at the end.", {
    default: "2m",
  }),
  "grpc-server-max-connection-age": flag.duration(
    "A gRPC connection is asked to reconnect after.",
    {
      default: "60m",
    },
  ),
  "grpc-server-tls-cert": flag.string("TLS certificate of the gRPC server; without it, no TLS.", {
    default: "",
    placeholder: "FILE",
  }),
  "grpc-server-tls-key": flag.string("TLS key of the gRPC server.", {
    default: "",
    placeholder: "FILE",
  }),
  "grpc-server-tls-client-ca": flag.string(
    "CA that signs the certificates of gRPC clients; without it, clients need none.",
    { default: "", placeholder: "FILE" },
  ),
  "grpc-max-held-size": flag.bytes("Requests of all gRPC calls under way hold at most.", {
    default: "512MB",
    hidden: true,
  }),
  "grpc-max-message-size": flag.bytes("Largest gRPC message taken.", {
    default: "64MB",
    hidden: true,
  }),
});

export type ComponentContext = {
  log: Logger;
  metrics: Registry;
  /** For further listeners of the process (`new HttpServer`), which share it. */
  httpMetrics: HttpMetrics;
  /** Stands before every HTTP listener that has none of its own; undefined without --http.config and --http.access-file. */
  guard: WebGuard | undefined;
  /** For a listener with files of its own, instead of those of --http.config. */
  openGuard: (files: { configFile: string; tls: TlsFiles | null }) => WebGuard | undefined;
  /** Ready when wiring returns, unless wiring itself called `ready` or `notReady`. */
  probe: Probe;
  /** Parts are stopped in the reverse order of `add`, after both listeners took their last request. */
  lifecycle: Lifecycle;
  /** Listens on --http-address once wiring returned; mount routes on `app`, raw handlers by `raw`. */
  http: HttpServer;
  /** Listens on --grpc-address already, and answers UNAVAILABLE while wiring is under way. */
  grpc: GrpcServer;
};

export type ComponentOptions = {
  /** What the component's error classes mean. */
  classify?: ErrorClassifier;
  /** Whether probes and metrics should answer while wiring is under way (it replays a log); default true. */
  earlyHttp?: boolean;
};

/** Runs until a signal, or until a part fails. Resolves with the process' exit code. */
export async function runComponent(
  name: string,
  config: Config<typeof commonFlags>,
  env: CommandEnv,
  wire: (context: ComponentContext) => Promise<void>,
  options: ComponentOptions = {},
): Promise<number> {
  const log = createLogger(
    {
      level: config["log.level"],
      format: config["log.format"],
      now: Date.now,
      write: (line) => env.stderr.write(line),
    },
    { component: name },
  );
  const metrics = createMetrics(env.version);
  const httpMetrics = createHttpMetrics(metrics);
  const probe = new Probe(metrics);
  const lifecycle = new Lifecycle(log);
  const release = stopOnSignals(lifecycle, log);
  const classify = options.classify === undefined ? {} : { classify: options.classify };
  const reloads = new Counter({
    name: "torus_tls_reloads_total",
    help: "New versions of certificates, web and access configuration, by what became of them.",
    labelNames: ["result"],
    registers: [metrics],
  });
  const refreshMs = config["tls-refresh-interval"];
  const openGuard = guardOpener(config["http.access-file"], refreshMs, reloads, log);
  let guard: WebGuard | undefined;
  try {
    guard = openGuard({ configFile: config["http.config"], tls: null });
  } catch (error) {
    log.error("component ended", { err: errorText(error) });
    release();
    return 1;
  }
  const http = new HttpServer({ log, metrics: httpMetrics, ...classify, guard });
  const tls = grpcTls(config);
  const grpc = new GrpcServer({
    log,
    metrics,
    ...classify,
    maxMessageBytes: config["grpc-max-message-size"],
    maxHeldBytes: config["grpc-max-held-size"],
    snappy: decodeSnappyFrames,
    maxConnectionAgeMs: config["grpc-server-max-connection-age"],
    ...(tls === undefined ? {} : { tls }),
    unavailable: () => (probe.isStarting ? `${name} is starting` : undefined),
  });
  if (tls !== undefined) followGrpcTls(config, tls, grpc, reloads, log);
  mountProbe(http.app, probe, metrics);
  const services = () => grpc.services;
  const protoFiles = PROTO_FILES.map((file) => path.join(protoDir(), file));
  grpc.addAlways(healthMethods(probe, services));
  grpc.addAlways(reflectionMethods(protoDir(), protoFiles, services));
  log.info("starting torus", { version: env.version, node: process.version });

  let code = 0;
  try {
    if (options.earlyHttp !== false) await http.listen(config["http-address"]);
    await grpc.listen(config["grpc-address"]);
    await wire({
      log,
      metrics,
      httpMetrics,
      guard,
      openGuard,
      probe,
      lifecycle,
      http,
      grpc,
    });
    if (options.earlyHttp === false) await http.listen(config["http-address"]);
    if (probe.isStarting) probe.ready();
    if (probe.isReady) log.info("ready");
    await lifecycle.stopRequested();
  } catch (error) {
    code = 1;
    const expected =
      error instanceof ListenError || error instanceof ConfigError || error instanceof UsageError;
    log.error("component ended", { err: errorText(error) });
    if (!expected && error instanceof Error) log.debug("stack", { stack: error.stack });
  }
  probe.notReady("shutting down");
  // Requests first: what they use is stopped after them.
  await Promise.all([
    grpc.stop(config["grpc-grace-period"]),
    http.stop(config["http-grace-period"]),
  ]);
  if (!(await lifecycle.stop())) code = 1;
  release();
  log.info("stopped", { code });
  return code;
}

function guardOpener(
  accessFile: string,
  refreshMs: number,
  reloads: Counter<"result">,
  log: Logger,
): ComponentContext["openGuard"] {
  return ({ configFile, tls }) => {
    if (configFile === "" && accessFile === "" && tls === null) return undefined;
    return new WebGuard({
      configFile,
      tls,
      accessFile,
      refreshMs,
      log,
      onReload: (result) => reloads.inc({ result }),
    });
  };
}

/** Gives the server new certificates when the files change. */
function followGrpcTls(
  config: Config<typeof commonFlags>,
  first: GrpcServerTls,
  grpc: GrpcServer,
  reloads: Counter<"result">,
  log: Logger,
): void {
  const text = ({ cert, key, clientCa }: GrpcServerTls) => [cert, key, clientCa].join("\n");
  let seen = text(first);
  const timer = setInterval(() => {
    try {
      const next = grpcTls(config);
      if (next === undefined || text(next) === seen) return;
      seen = text(next);
      // A certificate that does not fit its key is found here, and not by the next client.
      const { cert, key, clientCa } = next;
      createSecureContext({ cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) });
      grpc.setTls(next);
      log.info("applied new certificates of gRPC");
      reloads.inc({ result: "applied" });
    } catch (error) {
      log.error("new certificates of gRPC are invalid, keeping the last ones", {
        err: errorText(error),
      });
      reloads.inc({ result: "invalid" });
    }
  }, config["tls-refresh-interval"]);
  timer.unref();
}

/** @throws {UsageError} when one of certificate and key is missing, or a file cannot be read. */
function grpcTls(config: Config<typeof commonFlags>): GrpcServerTls | undefined {
  const cert = config["grpc-server-tls-cert"];
  const key = config["grpc-server-tls-key"];
  const clientCa = config["grpc-server-tls-client-ca"];
  if (cert === "" && key === "" && clientCa === "") return undefined;
  if (cert === "" || key === "") {
    throw new UsageError("both --grpc-server-tls-cert and --grpc-server-tls-key must be given");
  }
  try {
    const ca = clientCa === "" ? {} : { clientCa: readFileSync(clientCa) };
    return { cert: readFileSync(cert), key: readFileSync(key), ...ca };
  } catch (error) {
    throw new UsageError(`read the files of gRPC's TLS: ${errorText(error)}`, { cause: error });
  }
}
