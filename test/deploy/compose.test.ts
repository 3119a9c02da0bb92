/**
 * docker-compose.yml on a real container engine: built, brought up, healthy, written to by its Prometheus,
 * queried, one receiver killed, brought down. Grafana is left out: its image is in no registry that tests reach.
 * Needs an engine that answers (`docker version`, docker-compose) and the images or their stand-ins.
 */

import { spawnSync } from "node:child_process";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const ROOT = path.join(import.meta.dirname, "../..");
const QUERY_PORT = 18902;
const env = { ...process.env, QUERY_PORT: String(QUERY_PORT), TORUS_IMAGE: "torus:e2e" };
const SERVICES = ["minio", "receive-0", "receive-1", "receive-2", "store", "query", "prometheus"];

function compose(...args: string[]): string {
  const run = spawnSync("docker-compose", ["-p", "torus-e2e", ...args], {
    cwd: ROOT,
    env,
    encoding: "utf8",
    timeout: 400_000,
    maxBuffer: 64 << 20,
  });
  if (run.status !== 0)
    throw new Error(`docker-compose ${args.join(" ")}: ${run.stdout}${run.stderr}`);
  return run.stdout;
}

/** Asks the query node until `accept` likes the number of series, for at most `seconds`. */
async function seriesOf(
  query: string,
  accept: (count: number) => boolean,
  seconds: number,
): Promise<number> {
  const url = `http://127.0.0.1:${QUERY_PORT}/api/v1/query?query=${encodeURIComponent(query)}`;
  let count = -1;
  for (let i = 0; i < seconds; i++) {
    // A connection made while the container's port opens may never be answered.
    const body = (await fetch(url, { signal: AbortSignal.timeout(5000) })
      .then((r) => r.json())
      .catch(() => undefined)) as { status: string; data: { result: unknown[] } } | undefined;
    count = body?.status === "success" ? body.data.result.length : -1;
    if (accept(count)) return count;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  return count;
}

const engine =
  spawnSync("docker", ["version"]).status === 0 &&
  spawnSync("docker-compose", ["--version"]).status === 0;

describe.skipIf(!engine)("docker-compose.yml (needs a container engine and docker-compose)", () => {
  beforeAll(() => {
    compose("up", "-d", "--build", ...SERVICES);
  }, 420_000);
  afterAll(() => {
    compose("down", "-v", "--remove-orphans", "-t", "20");
  }, 120_000);

  test("what Prometheus scrapes from every component comes back, once, through the query node", async () => {
    // prometheus, three receivers, store, query
    const up = await seriesOf("up == 1", (count) => count === 6, 120);
    expect(up, compose("logs", "--tail=30")).toBe(6);
  }, 150_000);

  test("with one receiver killed, new samples are still written and found", async () => {
    compose("kill", "-s", "KILL", "receive-1");
    const fresh = await seriesOf(
      'up{job="prometheus"} == 1 and timestamp(up{job="prometheus"}) > time() - 20 and on () (up{instance="receive-1:10902"} == 0)',
      (count) => count === 1,
      90,
    );
    expect(fresh, compose("logs", "--tail=30")).toBe(1);
  }, 120_000);
});
