/** The program as its user meets it: from source, as a process. */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";

const program = ["--import", "tsx", path.join(import.meta.dirname, "main.ts")];

/** No terminal, no input, nothing of npm's in the environment. */
function torus(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...program, ...args], {
    encoding: "utf8",
  });
  return { status, out: stdout, err: stderr };
}

test.each<[args: string[], status: number, out: RegExp, err: RegExp]>([
  [[], 1, /^usage: torus COMMAND/, /^$/],
  [["--help"], 0, /^ {2}demo .*\n(.*\n)* {2}tools hashring /m, /^$/],
  [["--version"], 0, /^torus, version \S+ \(node v\d+/, /^$/],
  [["demo", "--help"], 0, /--replication-factor=N +Copies of each series\. Default: 2\./, /^$/],
  [["tools"], 1, /tools hashring/, /^$/],
  [["dmeo"], 1, /^$/, /^torus: error: unknown command 'dmeo', did you mean 'demo'\?\n$/],
  [
    ["demo", "--recievers=3"],
    1,
    /^$/,
    /^torus: error: unknown long flag '--recievers', did you mean '--receivers'\?, try --help\n$/,
  ],
  [["demo", "extra"], 1, /^$/, /^torus: error: unexpected argument 'extra', try --help\n$/],
  [
    ["demo", "--receivers=2", "--replication-factor=3"],
    1,
    /^$/,
    /^torus: error: --replication-factor must be from 1 to the number of receivers, 2\n$/,
  ],
])("torus %j ends with status %d", (args, status, out, err) => {
  const result = torus(...args);
  expect(result.err).toMatch(err);
  expect(result.out).toMatch(out);
  expect(result.status).toBe(status);
});

test("the demo names the listener whose port is taken, before it starts anything", async () => {
  const holder = net.createServer();
  await new Promise<void>((resolve) => {
    holder.listen(0, "127.0.0.1", resolve);
  });
  const { port } = holder.address() as net.AddressInfo;
  const dir = mkdtempSync(path.join(tmpdir(), "torus-demo-"));
  const child = spawn(process.execPath, [
    ...program,
    "demo",
    `--query-port=${port}`,
    `--data-dir=${dir}/data`,
  ]);
  let err = "";
  child.stderr.on("data", (text: Buffer) => {
    err += text.toString();
  });
  const status = await new Promise<number | null>((resolve) => {
    child.once("close", resolve);
  });
  expect(err).toContain(`127.0.0.1:${port} (HTTP of query)`);
  expect(err).not.toContain("    at ");
  expect(status).toBe(1);
  holder.close();
  rmSync(dir, { recursive: true });
});
