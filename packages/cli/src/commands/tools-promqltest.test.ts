import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "vitest";

const dir = mkdtempSync(path.join(tmpdir(), "torus-promqltest-"));
afterAll(() => rmSync(dir, { recursive: true }));

function run(script: string) {
  const file = path.join(dir, "script.test");
  writeFileSync(file, script);
  const main = path.join(import.meta.dirname, "../main.ts");
  const { status, stdout } = spawnSync(
    process.execPath,
    ["--import", "tsx", main, "tools", "promqltest", file],
    { encoding: "utf8" },
  );
  return { status, stdout };
}

const LOAD = 'load 1m\n  requests_total{job="a"} 0+60x10\n  requests_total{job="b"} 0+120x10\n\n';

test("a script that holds ends with its count", () => {
  const script = `${LOAD}eval instant at 10m sum(rate(requests_total[5m]))\n  {} 3\n\neval instant at 10m count(requests_total)\n  {} 2\n`;
  expect(run(script)).toEqual({ status: 0, stdout: "2 passed, 0 failed\n" });
});

test("a case that does not hold is shown with what was expected and what came", () => {
  const { status, stdout } = run(`${LOAD}eval instant at 10m count(requests_total)\n  {} 5\n`);
  expect(status).toBe(1);
  expect(stdout).toMatch(/script\.test:5: .*count\(requests_total\)/);
  expect(stdout).toContain("0 passed, 1 failed");
});
