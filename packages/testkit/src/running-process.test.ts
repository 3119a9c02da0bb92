import { expect, test } from "vitest";
import { freePorts } from "./ports.ts";
import { startProcess } from "./running-process.ts";

const node = (script: string, port = 1) => ({
  name: "script",
  command: process.execPath,
  args: ["-e", script],
  readyUrl: `http://127.0.0.1:${port}/ready`,
});

test("a program is waited for until it answers, and stops on SIGTERM", async () => {
  const [port = 0] = await freePorts(1);
  const running = await startProcess(
    node(
      `console.log("hello"); process.on("SIGTERM", () => process.exit(0));
       require("http").createServer((q, r) => r.end()).listen(${port}, "127.0.0.1");`,
      port,
    ),
  );
  expect(running.output()).toContain("hello");
  await running.kill("SIGSTOP");
  await running.kill("SIGCONT");
  expect((await fetch(`http://127.0.0.1:${port}/`)).status).toBe(200);
  await running.stop();
  await expect(fetch(`http://127.0.0.1:${port}/`)).rejects.toThrow("fetch failed");
});

test("a program that ends before it is ready is reported with what it said", async () => {
  await expect(
    startProcess(node('console.error("no such disk"); process.exit(3)')),
  ).rejects.toThrow(/^script ended before it was ready: no such disk/);
});

test("a program that does not exist is reported by name", async () => {
  const options = { ...node(""), command: "/nowhere/prometheus" };
  await expect(startProcess(options)).rejects.toThrow("/nowhere/prometheus");
});

test("free ports are all different", async () => {
  expect(new Set(await freePorts(20)).size).toBe(20);
});
