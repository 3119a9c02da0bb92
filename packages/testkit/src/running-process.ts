/** Any program as a child process: waited for until it answers, its last output kept for the error. */

import { spawn } from "node:child_process";

export type ProcessOptions = {
  /** For messages. */
  name: string;
  command: string;
  args: readonly string[];
  /** A GET of it answers 2xx when the program is ready. */
  readyUrl: string;
  readyTimeoutMs?: number;
  cwd?: string;
};

export type RunningProcess = {
  readonly pid: number;
  /** The last 64 KB of what it wrote to both of its outputs. */
  output(): string;
  /** SIGSTOP and SIGCONT return at once, what ends the process when it is gone. */
  kill(signal: NodeJS.Signals): Promise<void>;
  /** SIGTERM, after 20 s SIGKILL. */
  stop(): Promise<void>;
};

const KEPT_OUTPUT = 65_536;

/** @throws when it ends before it is ready, or is not ready in time (30 s). */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { name, command, args, readyUrl, readyTimeoutMs = 30_000 } = options;
  const child = spawn(command, args, {
    stdio: ["ignore", "pipe", "pipe"],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  let output = "";
  const keep = (text: Buffer) => {
    output = (output + text.toString()).slice(-KEPT_OUTPUT);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  let gone = false;
  const exited = new Promise<void>((resolve) => {
    const end = () => {
      gone = true;
      resolve();
    };
    child.once("exit", end);
    child.once("error", (error) => {
      keep(Buffer.from(error.message));
      end();
    });
  });
  const kill = async (signal: NodeJS.Signals) => {
    if (!gone) child.kill(signal);
    if (signal !== "SIGSTOP" && signal !== "SIGCONT") await exited;
  };
  const stop = async () => {
    const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
    await kill("SIGTERM");
    clearTimeout(timer);
  };
  const deadline = performance.now() + readyTimeoutMs;
  while (!(await answers(readyUrl))) {
    if (gone || performance.now() > deadline) {
      const what = gone ? "ended before it was ready" : `was not ready at ${readyUrl} in time`;
      await kill("SIGKILL");
      throw new Error(`${name} ${what}: ${output.slice(-4000)}`);
    }
    await Promise.race([exited, new Promise((resolve) => setTimeout(resolve, 50))]);
  }
  return { pid: child.pid ?? 0, output: () => output, kill, stop };
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}
