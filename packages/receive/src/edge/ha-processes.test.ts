/** HA pairs that write to a ring of processes: the owner of some is killed, and the elected servers fall silent. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePorts, type RunningProcess, startProcess, torusProgram } from "@torus/testkit";
import { afterAll, expect, test } from "vitest";
import { post, writeBody } from "../test-cluster.ts";

const NAMES = ["a", "b", "c"];
const CLUSTERS = Array.from({ length: 12 }, (_, i) => `c${i}`);
const root = mkdtempSync(path.join(tmpdir(), "torus-ha-"));
const running = new Map<string, RunningProcess>();

afterAll(async () => {
  await Promise.all([...running.values()].map((each) => each.kill("SIGKILL")));
  rmSync(root, { recursive: true, force: true });
});

test("a killed owner stops no pair, and silence hands over once it is back", async () => {
  const ports = await freePorts(9);
  const ring = JSON.stringify([{ endpoints: NAMES.map((_, i) => `127.0.0.1:${ports[i]}`) }]);
  const start = async (i: number) => {
    const name = NAMES[i] as string;
    const grpc = `127.0.0.1:${ports[i]}`;
    const http = `127.0.0.1:${ports[i + 3]}`;
    running.set(
      name,
      await startProcess({
        name,
        command: process.execPath,
        args: [
          torusProgram(),
          "receive",
          `--grpc-address=${grpc}`,
          `--http-address=${http}`,
          `--remote-write.address=127.0.0.1:${ports[i + 6]}`,
          `--tsdb.path=${path.join(root, name)}`,
          `--label=receive_replica="${name}"`,
          `--receive.local-endpoint=${grpc}`,
          `--receive.hashrings=${ring}`,
          "--receive.hashrings-algorithm=ketama",
          "--receive.replication-factor=3",
          "--receive.ha-tracker",
          "--receive.ha-tracker.cluster-label=team",
          "--receive.ha-tracker.failover-timeout=15s",
          "--log.level=error",
        ],
        readyUrl: `http://${http}/-/ready`,
      }),
    );
  };
  await Promise.all(NAMES.map((_, i) => start(i)));

  let at = Date.now();
  const write = async (to: number, replica: string, team: string) => {
    const labels = ["__name__", "up", "__replica__", replica, "team", team];
    at++;
    const url = `http://127.0.0.1:${ports[to + 6]}/api/v1/receive`;
    return (await post(url, writeBody([[labels, at, 1]]))).status;
  };
  /** Tries again as long as nothing is decided: peers that do not answer yet. */
  const until = async (status: number, run: () => Promise<number>) => {
    for (let i = 0; i < 300; i++) {
      if ((await run()) === status) return;
      await sleep(100);
    }
    expect(await run()).toBe(status);
  };
  const servers = async () => {
    for (const team of CLUSTERS) {
      await until(204, () => write(0, "r1", team));
      expect(await write(1, "r2", team)).toBe(202);
    }
  };
  await servers();
  await running.get("c")?.kill("SIGKILL");
  await servers();
  await start(2);
  await servers();
  // r1 falls silent: what r2 writes is taken after a while, and from then on r1 is the one left out.
  for (const team of CLUSTERS) await until(204, () => write(1, "r2", team));
  for (const team of CLUSTERS) {
    await until(204, () => write(1, "r2", team));
    expect(await write(0, "r1", team)).toBe(202);
  }
}, 180_000);
