/**
 * HA pairs that write to a ring of processes: the owner of some is killed, the elected servers fall silent meanwhile,
 * and the owner comes back.
 */

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

test("a killed owner stops no pair, its successor hands over, and it goes on from there when it is back", async () => {
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
          "--receive.ha-tracker.failover-timeout=10s",
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
  // r1 falls silent for longer than the failover time, then both are heard at once, at different receivers: of every
  // pair one is taken.
  await sleep(10_500);
  const elected = new Map<string, string>();
  for (const team of CLUSTERS) {
    const both = await Promise.all([write(0, "r1", team), write(1, "r2", team)]);
    expect(new Set(both)).toEqual(new Set([202, 204]));
    elected.set(team, both[0] === 204 ? "r1" : "r2");
  }
  // From here on the elected ones are heard all the time.
  const stop = new AbortController();
  const beat = async () => {
    while (!stop.signal.aborted) {
      for (const [team, replica] of elected) expect(await write(1, replica, team)).toBe(204);
      await sleep(200);
    }
  };
  const other = (team: string) => (elected.get(team) === "r1" ? "r2" : "r1");
  const check = async () => {
    await start(2);
    // What the owner hears first is the one that its successor did not elect.
    for (const team of CLUSTERS) {
      const statuses: number[] = [];
      while (statuses.length < 300 && (statuses.at(-1) ?? 503) >= 500) {
        if (statuses.length > 0) await sleep(100);
        statuses.push(await write(2, other(team), team));
      }
      expect(statuses.at(-1)).toBe(202);
      expect(await write(0, other(team), team)).toBe(202);
    }
  };
  const checked = check().finally(() => stop.abort());
  await Promise.all([checked, beat()]);
}, 180_000);
