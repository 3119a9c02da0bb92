/**
 * The process' metrics registry: prom-client's, with the process and Node metrics every torus process has
 * (`process_*` under Prometheus' usual names, `nodejs_*`) and `torus_build_info`.
 */

import { collectDefaultMetrics, Gauge, Registry } from "prom-client";

export function createMetrics(version: string): Registry {
  const register = new Registry();
  collectDefaultMetrics({ register });
  const build = new Gauge({
    name: "torus_build_info",
    help: "Constant 1, with the version that runs and the Node that runs it.",
    labelNames: ["version", "nodeversion"],
    registers: [register],
  });
  build.set({ version, nodeversion: process.version }, 1);
  return register;
}
