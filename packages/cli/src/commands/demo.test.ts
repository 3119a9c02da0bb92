/** `torus demo` as its user runs it: first answer, a killed receiver, Ctrl-C, and a second start over the same data. */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import process from "node:process";
import { afterAll, expect, test } from "vitest";
import { leftOverPids } from "../demo/left-over.ts";

const dir = mkdtempSync(path.join(tmpdir(), "torus-demo-"));
const demos: ChildProcess[] = [];
afterAll(() => {
  // Nothing is left of a test that passed; of one that failed, the demo and what it started.
  for (const child of demos) child.kill("SIGKILL");
  for (const pid of leftOverPids(path.join(dir, "data"))) process.kill(pid, "SIGKILL");
  rmSync(dir, { recursive: true, force: true });
});

/** The first of `count` consecutive free ports: the demo numbers its ports on. */
async function freeRange(count: number): Promise<number> {
  for (;;) {
    const first = 20_000 + Math.floor(Math.random() * 20_000);
    const servers = Array.from({ length: count }, () => createServer());
    const free = await Promise.all(
      servers.map(
        (server, i) =>
          new Promise<boolean>((resolve) => {
            server.once("error", () => resolve(false));
            server.listen(first + i, "127.0.0.1", () => resolve(true));
          }),
      ),
    );
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    if (!free.includes(false)) return first;
  }
}

type Demo = { child: ChildProcess; output: () => string; exited: Promise<number | null> };

function startDemo(first: number): Demo {
  const child = spawn(process.execPath, [
    "--import",
    "tsx",
    path.join(import.meta.dirname, "../main.ts"),
    "demo",
    `--data-dir=${dir}/data`,
    "--scrape-interval=1s",
    `--query-port=${first}`,
    `--remote-write-port=${first + 1}`,
    `--internal-port=${first + 4}`,
  ]);
  demos.push(child);
  let output = "";
  const keep = (text: Buffer) => {
    output += text.toString();
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  const exited = new Promise<number | null>((resolve) => {
    child.once("close", resolve);
  });
  return { child, output: () => output, exited };
}

async function says({ output, child }: Demo, pattern: RegExp): Promise<string> {
  for (;;) {
    const match = pattern.exec(output());
    if (match !== null) return match[1] ?? match[0];
    if (child.exitCode !== null) throw new Error(`ended without ${pattern}: ${output()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

type Answer = { status: string; data: { result: { value: [number, string] }[] } };

async function ask(port: number, query: string, seconds?: number): Promise<Answer> {
  const time = seconds === undefined ? "" : `&time=${seconds}`;
  const url = `http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}${time}`;
  return (await (await fetch(url)).json()) as Answer;
}

/** Asks until the answer is 6: each target is written as its scrape ends, and its second copy may come after that. */
async function six(port: number, query: string, seconds?: number): Promise<Answer> {
  for (let tries = 100; ; tries--) {
    const answer = await ask(port, query, seconds);
    if (tries === 0 || answer.data.result[0]?.value[1] === "6") return answer;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

test("the demo answers, answers on without a receiver, stops cleanly, and finds its data again", async () => {
  const port = await freeRange(20);
  const first = startDemo(port);
  await says(first, /The cluster answers/);
  expect(await says(first, /- url: (\S+)/)).toBe(`http://127.0.0.1:${port + 1}/api/v1/receive`);

  const up = await six(port, "sum(up)");
  expect(up.data.result.map(({ value }) => value[1])).toStrictEqual(["6"]);
  const writtenAt = up.data.result[0]?.value[0] ?? 0;

  const victim = Number(await says(first, /kill -9 (\d+)/));
  process.kill(victim, "SIGKILL");
  await says(first, /receive-1 \(pid \d+\) ended with SIGKILL; type "start"/);
  expect((await six(port, "count(up)", writtenAt)).data.result[0]?.value[1]).toBe("6");
  first.child.stdin?.write("start\n");
  await says(first, /receive-1 is started again, pid \d+/);

  // Twice at once, as npm passes it on.
  first.child.kill("SIGINT");
  first.child.kill("SIGINT");
  expect(await first.exited).toBe(0);
  expect(first.output()).toContain("Stopped.");

  const second = startDemo(port);
  await says(second, /Continuing with/);
  await says(second, /The cluster answers/);
  expect((await six(port, "count(up)", writtenAt)).data.result[0]?.value[1]).toBe("6");
  second.child.kill("SIGINT");
  expect(await second.exited).toBe(0);
}, 120_000);
