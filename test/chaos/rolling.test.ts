/**
 * A rollout under steady load at RF 3: every receiver is restarted, one at a time, then the ring grows by one and
 * shrinks again. No node that runs answers anything but 2xx, and everything that was acknowledged is found.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Random } from "@torus/testkit";
import { expect, test } from "vitest";
import { check } from "./check.ts";
import { RingOfProcesses } from "./ring-of-processes.ts";
import { ChaosWriter } from "./writer.ts";

const SEED = 20_261_123;
const WRITERS = 3;
/** As members of the ring, besides the one that comes and goes. */
const NODES = 3;
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("a rolling restart and a resize give no error and lose nothing", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-rolling-"));
  const ring = await RingOfProcesses.start({
    dir,
    nodes: NODES + 1,
    replicationFactor: 3,
    blockDuration: "20s",
  });
  try {
    ring.resize(NODES);
    // Every receiver looks at the file once a second.
    await sleep(2500);
    const writers = Array.from(
      { length: WRITERS },
      (_, i) => new ChaosWriter(i, 30, new Random(SEED + i)),
    );
    const end = new AbortController();
    const running = writers.map((writer) => writer.run(ring.receivers, 100, end.signal));
    await sleep(1000);
    for (const receiver of ring.receivers.slice(0, NODES)) {
      await receiver.stop();
      await sleep(500);
      await receiver.start();
      await sleep(1500);
    }
    ring.resize(NODES + 1);
    await sleep(3000);
    ring.resize(NODES);
    await sleep(3000);
    end.abort();
    await Promise.all(running);
    await ring.startQuery();
    const { missing, invented, acknowledged, examples } = await check(ring.queryUrl, writers);
    // A connection that ends with its node is no answer.
    expect(writers.flatMap(({ failures }) => failures)).toEqual([]);
    expect({ missing, invented, examples }).toEqual({ missing: 0, invented: 0, examples: [] });
    expect(acknowledged).toBeGreaterThan(5000);
  } finally {
    await ring.close();
    rmSync(dir, { recursive: true, force: true });
  }
}, 180_000);
