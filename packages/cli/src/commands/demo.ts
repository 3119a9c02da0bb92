/** `torus demo`: a whole cluster on this machine, fed with its own metrics. */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { onStopSignals } from "@torus/server";
import { type CommandEnv, defineCommand, UsageError } from "../command.ts";
import { Feed } from "../demo/feed.ts";
import { leftOverPids, removePids, writePids } from "../demo/left-over.ts";
import { type ClusterPlan, type ComponentPlan, planCluster } from "../demo/plan.ts";
import { takenAddresses } from "../demo/ports.ts";
import { ComponentProcess } from "../demo/process.ts";
import { demoText, QUERIES, queryUrl } from "../demo/text.ts";
import { type Config, flag, flagGroup } from "../flags.ts";

const READY_TIMEOUT_MS = 45_000;
const STOP_GRACE_MS = 30_000;

const flags = {
  ...flagGroup("Cluster", {
    "data-dir": flag.string("Directory of everything that the demo stores.", {
      default: "./data/demo",
      placeholder: "DIR",
    }),
    receivers: flag.integer("Number of receive processes.", { default: "3" }),
    "replication-factor": flag.integer("Copies of each series.", { default: "2" }),
    "scrape-interval": flag.duration("Time between two scrapes of the cluster's own metrics.", {
      default: "5s",
    }),
  }),
  ...flagGroup("Ports, all on 127.0.0.1", {
    "query-port": flag.integer("HTTP port of the query node.", { default: "10902" }),
    "remote-write-port": flag.integer(
      "Remote write port of the first receiver; the next receivers take the next ports.",
      { default: "19291" },
    ),
    "internal-port": flag.integer(
      "First of the consecutive ports (two a process) of everything else.",
      { default: "10911" },
    ),
  }),
};

export const demo = defineCommand({
  name: "demo",
  summary: "run a whole cluster on this machine, fed with its own metrics",
  flags,
  run: async (config, env) => {
    const plan = planDemo(config);
    const taken = await takenAddresses(plan.components);
    if (taken.length > 0) {
      const left = leftOverPids(plan.dataDir);
      const hint =
        left.length === 0
          ? "choose other ports with --query-port, --remote-write-port and --internal-port, or stop what runs there"
          : `an earlier demo left processes over the same directory: kill ${left.join(" ")}`;
      throw new UsageError(`already in use: ${taken.join(", ")}; ${hint}`);
    }
    return runDemo(plan, config["scrape-interval"], env);
  },
});

function planDemo(config: Config<typeof flags>): ClusterPlan {
  const { receivers, "replication-factor": replicationFactor } = config;
  if (receivers < 1 || receivers > 20) throw new UsageError("--receivers must be from 1 to 20");
  if (replicationFactor < 1 || replicationFactor > receivers) {
    throw new UsageError(
      `--replication-factor must be from 1 to the number of receivers, ${receivers}`,
    );
  }
  if (config["scrape-interval"] < 1000) throw new UsageError("--scrape-interval is 1s at least");
  let [internal, remoteWrite] = [config["internal-port"], config["remote-write-port"]];
  const port = (component: string, listener: "http" | "grpc" | "remote-write") => {
    if (listener === "remote-write") return remoteWrite++;
    if (component === "query" && listener === "http") return config["query-port"];
    return internal++;
  };
  const plan = planCluster({
    dataDir: path.resolve(config["data-dir"]),
    receivers,
    replicationFactor,
    port,
    syncInterval: "30s",
  });
  const ports = [internal, remoteWrite, config["query-port"] + 1];
  if (Math.max(...ports) > 65_536) throw new UsageError("ports end at 65535");
  return plan;
}

async function runDemo(plan: ClusterPlan, intervalMs: number, env: CommandEnv): Promise<number> {
  const say = (line: string) => env.stdout.write(`${line}\n`);
  const existing = existsSync(path.join(plan.dataDir, "hashrings.json"));
  mkdirSync(path.join(plan.dataDir, "bucket"), { recursive: true });
  for (const [file, text] of Object.entries(plan.files)) writeFileSync(file, text);

  const cluster = new DemoCluster(plan, say);
  const stop = stopSignal(() => cluster.kill());
  const feed = new Feed({ components: plan.components, intervalMs, now: Date.now, report: say });
  let commands: ReturnType<typeof createInterface> | undefined;
  let code = 0;
  try {
    say(
      `${existing ? "Continuing with" : "Starting in"} ${plan.dataDir}: ${plan.components.length} processes …`,
    );
    cluster.startMissing();
    await Promise.race([cluster.ready(READY_TIMEOUT_MS), stop.requested]);
    if (!stop.isRequested) await feed.start();
    if (!stop.isRequested) {
      await Promise.race([firstAnswer(plan, stop), stop.requested]);
      cluster.isUp = true;
      say(demoText(plan, (name) => cluster.pid(name)));
      commands = createInterface({ input: env.stdin });
      commands.on("line", (line) => {
        if (line.trim() === "start") cluster.startMissing();
      });
      await stop.requested;
    }
  } catch (error) {
    code = 1;
    env.stderr.write(`torus: error: ${error instanceof Error ? error.message : String(error)}\n`);
    for (const line of cluster.lastWords()) env.stderr.write(`${line}\n`);
  }
  say("Stopping …");
  commands?.close();
  // A terminal that is read keeps the process alive.
  env.stdin.pause();
  await feed.stop();
  await cluster.stop();
  stop.release();
  say("Stopped. The data stays; the next start continues with it.");
  return code;
}

/** The processes of the plan: a dead one is reported and stays dead until it is asked for. */
class DemoCluster {
  readonly #plan: ClusterPlan;
  readonly #say: (line: string) => void;
  readonly #running = new Map<string, ComponentProcess>();
  #failed: ComponentProcess | undefined;
  #stopping = false;
  /** From then on a component that ends is one that its user can start again. */
  isUp = false;

  constructor(plan: ClusterPlan, say: (line: string) => void) {
    this.#plan = plan;
    this.#say = say;
  }

  pid(name: string): number {
    return this.#running.get(name)?.pid ?? 0;
  }

  startMissing(): void {
    for (const plan of this.#plan.components) {
      if (this.#running.get(plan.name)?.isRunning !== true && !this.#stopping) this.#start(plan);
    }
  }

  /** @throws {ComponentStartError} */
  async ready(timeoutMs: number): Promise<void> {
    const all = [...this.#running.values()];
    await Promise.all(
      all.map(async (component) => {
        try {
          await component.ready(timeoutMs);
        } catch (error) {
          this.#failed ??= component;
          throw error;
        }
      }),
    );
  }

  /** The end of the log of the component that did not start. */
  lastWords(): string[] {
    if (this.#failed === undefined) return [];
    const text = readFileSync(this.#failed.logFile, "utf8");
    return text.trimEnd().split("\n").slice(-5);
  }

  kill(): void {
    for (const component of this.#running.values()) component.kill("SIGKILL");
  }

  /** Readers first, so that nothing asks what is gone already. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const { name } of this.#plan.components.toReversed()) {
      const component = this.#running.get(name);
      const command = component?.plan.command;
      // Receivers stop together at the end: each would wait for the others' forwards otherwise.
      if (component !== undefined && command !== "receive") await component.stop(STOP_GRACE_MS);
    }
    await Promise.all([...this.#running.values()].map((each) => each.stop(STOP_GRACE_MS)));
    removePids(this.#plan.dataDir);
  }

  #start(plan: ComponentPlan): void {
    const again = this.#running.has(plan.name);
    // Run from source (tsx), Node's own arguments hold the loader.
    const program = [...process.execArgv, process.argv[1] ?? ""];
    const component = new ComponentProcess(program, plan, path.join(this.#plan.dataDir, "logs"));
    this.#running.set(plan.name, component);
    writePids(
      this.#plan.dataDir,
      [...this.#running.values()].map(({ pid, plan: { http } }) => ({ pid, http })),
    );
    if (again) this.#say(`${plan.name} is started again, pid ${component.pid}`);
    void component.exited.then(({ code, signal }) => {
      if (this.#stopping || !this.isUp) return;
      this.#say(
        `${plan.name} (pid ${component.pid}) ended with ${signal ?? `status ${code}`}; type "start" and Enter to start it again. Its log: ${component.logFile}`,
      );
    });
  }
}

/** Resolves when the query node has answered with a sample; the first scrape was sent before. */
async function firstAnswer(plan: ClusterPlan, stop: { isRequested: boolean }): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  let last = "";
  while (performance.now() < deadline) {
    if (stop.isRequested) return;
    try {
      const response = await fetch(queryUrl(plan, QUERIES[0]), {
        signal: AbortSignal.timeout(5000),
      });
      last = await response.text();
      if (response.ok && last.includes('"value"')) return;
    } catch (error) {
      last = error instanceof Error ? error.message : String(error);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`the query node gave no sample for ${QUERIES[0]}: ${last.slice(0, 300)}`);
}

/** The first Ctrl-C or SIGTERM asks; a second one ends this process and all it started at once. */
function stopSignal(kill: () => void): {
  requested: Promise<void>;
  isRequested: boolean;
  release: () => void;
} {
  const state = { requested: Promise.resolve(), isRequested: false, release: () => {} };
  state.requested = new Promise((resolve) => {
    const first = () => {
      state.isRequested = true;
      resolve();
    };
    state.release = onStopSignals(first, kill);
  });
  return state;
}
