/** A component as a child process: started from this very program, its log in a file, stopped by signals. */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import type { ComponentPlan } from "./plan.ts";

export type Exit = { code: number | null; signal: NodeJS.Signals | null };

export class ComponentProcess {
  readonly plan: ComponentPlan;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves when the process is gone. */
  readonly exited: Promise<Exit>;
  #exit: Exit | undefined;

  /** @param program Node's arguments before the subcommand: the path of torus.mjs. */
  constructor(program: readonly string[], plan: ComponentPlan, logDir: string) {
    this.plan = plan;
    this.logFile = path.join(logDir, `${plan.name}.log`);
    mkdirSync(logDir, { recursive: true });
    const log = openSync(this.logFile, "a");
    // In a group of its own: Ctrl-C at the terminal reaches the starter alone, which stops the rest in order.
    const child: ChildProcess = spawn(process.execPath, [...program, plan.command, ...plan.args], {
      stdio: ["ignore", log, log],
      detached: true,
    });
    closeSync(log);
    this.pid = child.pid ?? 0;
    this.exited = new Promise((resolve) => {
      const gone = (exit: Exit) => {
        this.#exit ??= exit;
        resolve(this.#exit);
      };
      child.once("exit", (code, signal) => gone({ code, signal }));
      child.once("error", () => gone({ code: -1, signal: null }));
    });
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** No effect on a process that is gone. */
  kill(signal: NodeJS.Signals): void {
    if (!this.isRunning || this.pid === 0) return;
    try {
      process.kill(this.pid, signal);
    } catch {
      // Gone between the check and the signal.
    }
  }

  /** SIGTERM, and SIGKILL after `graceMs`. */
  async stop(graceMs: number): Promise<Exit> {
    this.kill("SIGTERM");
    const timer = setTimeout(() => this.kill("SIGKILL"), graceMs);
    const exit = await this.exited;
    clearTimeout(timer);
    return exit;
  }

  /** @throws {ComponentStartError} when it ends before it is ready, or is not ready in time. */
  async ready(timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if (await isReady(this.plan.http)) return;
      if (!this.isRunning) throw new ComponentStartError(this, "ended before it was ready");
      if (performance.now() > deadline) {
        throw new ComponentStartError(this, `was not ready within ${timeoutMs / 1000} s`);
      }
      await Promise.race([this.exited, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
  }
}

export class ComponentStartError extends Error {
  readonly logFile: string;
  constructor(component: ComponentProcess, what: string) {
    super(`${component.plan.name} ${what}, see ${component.logFile}`);
    this.name = "ComponentStartError";
    this.logFile = component.logFile;
  }
}

async function isReady(address: string): Promise<boolean> {
  try {
    const response = await fetch(`http://${address}/-/ready`, {
      signal: AbortSignal.timeout(2000),
    });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
