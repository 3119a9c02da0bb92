/** Logs, lifecycle and configuration files: what a process is made of besides its listeners. */

import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "vitest";
import { readConfig, watchConfig } from "./config-file.ts";
import { Lifecycle } from "./lifecycle.ts";
import { createLogger, type LogFormat } from "./log.ts";

function capture(format: LogFormat): { lines: string[]; log: ReturnType<typeof createLogger> } {
  const lines: string[] = [];
  const write = (line: string) => lines.push(line);
  const options = { level: "info", format, now: () => 1_700_000_000_123, write } as const;
  return { lines, log: createLogger(options, { component: "receive" }) };
}

test("logfmt quotes what a reader would split, and follows an error's causes", () => {
  const { lines, log } = capture("logfmt");
  log.debug("not shown");
  const cause = new Error('no "disk"');
  log
    .with({ tenant: "a b" })
    .error("append", { err: new Error("write WAL", { cause }), n: 3, gone: undefined, empty: "" });
  expect(lines).toStrictEqual([
    'ts=2023-11-14T22:13:20.123Z level=error component=receive tenant="a b" msg=append err="write WAL: no \\"disk\\"" n=3 empty=""\n',
  ]);
});

test("a JSON line is one object, whatever is in it", () => {
  const { lines, log } = capture("json");
  log.warn("line\nbreak", { err: new Error("x"), big: 5n });
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toStrictEqual({
    ts: "2023-11-14T22:13:20.123Z",
    level: "warn",
    component: "receive",
    msg: "line\nbreak",
    err: "x",
    big: "5",
  });
});

test("parts stop in the reverse order, each after the one before, and an error stops none of them", async () => {
  const { lines, log } = capture("logfmt");
  const lifecycle = new Lifecycle(log);
  const order: string[] = [];
  lifecycle.add("wal", {
    stop: () => {
      order.push("wal");
    },
  });
  lifecycle.add("head", {
    stop: () => {
      order.push("head");
      throw new Error("disk is full");
    },
  });
  lifecycle.add("http", {
    stop: async () => {
      await new Promise((resolve) => setImmediate(resolve));
      order.push("http");
    },
  });
  expect(await Promise.all([lifecycle.stop(), lifecycle.stop()])).toStrictEqual([false, false]);
  expect(order).toStrictEqual(["http", "head", "wal"]);
  expect(lifecycle.signal.aborted).toBe(true);
  expect(lines.join("")).toContain('err="disk is full"');
});

test("a failed part ends the wait with its error", async () => {
  const { log } = capture("logfmt");
  const lifecycle = new Lifecycle(log);
  const waited = lifecycle.stopRequested();
  lifecycle.fail(new Error("listener died"));
  await expect(waited).rejects.toThrow("listener died");
});

test("a configuration comes from a file or inline, not from both", async () => {
  expect(await readConfig("x", { file: "", inline: "" })).toBeUndefined();
  expect(await readConfig("x", { file: "", inline: "a: 1" })).toBe("a: 1");
  await expect(readConfig("x", { file: "f", inline: "a" })).rejects.toThrow("both x and x-file");
  await expect(readConfig("x", { file: "/nowhere/f", inline: "" })).rejects.toThrow("read x-file");
});

test("a file is followed through a ConfigMap's swap of links; an invalid version leaves the last one", async () => {
  const { log } = capture("logfmt");
  const dir = mkdtempSync(path.join(tmpdir(), "torus-config-"));
  const at = (name: string) => path.join(dir, name);
  const results: string[] = [];
  const applied: string[] = [];
  writeFileSync(at("v1"), "one");
  symlinkSync("v1", at("ring.json"));
  const swap = (version: string, text: string) => {
    writeFileSync(at(version), text);
    symlinkSync(version, at("tmp"));
    renameSync(at("tmp"), at("ring.json"));
  };
  const watch = watchConfig("one", {
    file: at("ring.json"),
    refreshMs: 3_600_000,
    log,
    apply: (text) => {
      if (text === "bad") throw new Error("no endpoints");
      applied.push(text);
    },
    onResult: (result) => results.push(result),
  });
  await watch.check();
  expect(results).toStrictEqual([]);
  swap("v2", "bad");
  await watch.check();
  swap("v3", "three");
  // Seen by the watch alone.
  while (applied.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  rmSync(at("ring.json"));
  await watch.check();
  await watch.stop();
  expect(applied).toStrictEqual(["three"]);
  expect(results).toContain("invalid");
  expect(results.at(-1)).toBe("unreadable");
  rmSync(dir, { recursive: true });
});
