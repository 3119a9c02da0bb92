/**
 * What goes wrong, and when: a seeded series of faults, each of which ends by itself. Faults overlap, on one node
 * and on several; nothing is spared but the writers.
 */

import type { Random } from "@torus/testkit";
import type { Receiver, RingOfProcesses } from "./ring-of-processes.ts";

type Fault = {
  name: string;
  /** Resolves when the fault is over. */
  run: (ring: RingOfProcesses, node: Receiver, random: Random) => Promise<void>;
  /** Whether it can be done to this node now. */
  possible: (ring: RingOfProcesses, node: Receiver) => boolean;
};

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const running = (_: RingOfProcesses, node: Receiver) => node.isRunning;

const FAULTS: readonly Fault[] = [
  {
    name: "kill -9",
    possible: running,
    run: async (_, node, random) => {
      await node.kill();
      await sleep(random.between(0, 4000));
      await node.start();
    },
  },
  {
    name: "restart",
    possible: running,
    run: async (_, node) => {
      await node.stop();
      await node.start();
    },
  },
  {
    name: "SIGSTOP",
    possible: running,
    run: async (_, node, random) => {
      await node.pause();
      await sleep(random.between(500, 8000));
      await node.resume();
    },
  },
  {
    name: "connections reset",
    possible: () => true,
    run: async (_, node, random) => {
      for (let i = random.between(1, 5); i > 0; i--) {
        node.link.reset();
        await sleep(random.between(10, 300));
      }
    },
  },
  {
    name: "connections refused",
    possible: () => true,
    run: async (_, node, random) => {
      node.link.refuse();
      await sleep(random.between(100, 4000));
      node.link.heal();
    },
  },
  {
    name: "link held",
    possible: () => true,
    run: async (_, node, random) => {
      node.link.hold();
      await sleep(random.between(100, 6000));
      node.link.heal();
    },
  },
  {
    name: "ring changed",
    possible: () => true,
    run: async (ring, _, random) => {
      ring.resize(random.between(3, ring.receivers.length));
      await sleep(random.between(1000, 3000));
    },
  },
  {
    name: "disk full",
    possible: (_, node) => node.ownDisk,
    run: async (_, node, random) => {
      node.fillDisk();
      await sleep(random.between(500, 5000));
      node.freeDisk();
    },
  },
  {
    name: "slow disk",
    possible: () => true,
    run: async (_, node, random) => {
      node.slowDisk(random.between(5, 200));
      await sleep(random.between(500, 6000));
      node.speedDisk();
    },
  },
];

export class Nemesis {
  /** How often each was done. */
  readonly done = new Map<string, number>();
  readonly #ring: RingOfProcesses;
  readonly #random: Random;
  readonly #busy = new Set<string>();
  readonly #underWay = new Set<Promise<void>>();
  readonly #log: (line: string) => void;

  constructor(ring: RingOfProcesses, random: Random, log: (line: string) => void) {
    this.#ring = ring;
    this.#random = random;
    this.#log = log;
  }

  /** A fault every one to four seconds until the time has come; returns when the last is over. */
  async run(untilMs: number): Promise<void> {
    const errors: unknown[] = [];
    while (Date.now() < untilMs && errors.length === 0) {
      const fault = this.#random.pick(FAULTS);
      const node = this.#random.pick(this.#ring.receivers);
      // The same fault twice at once would end the first early.
      const key = fault.name === "ring changed" ? fault.name : `${fault.name} of ${node.name}`;
      if (!this.#busy.has(key) && fault.possible(this.#ring, node)) {
        this.#busy.add(key);
        this.done.set(fault.name, (this.done.get(fault.name) ?? 0) + 1);
        this.#log(key);
        const turn = fault
          .run(this.#ring, node, this.#random)
          .catch((error: unknown) => {
            errors.push(new Error(`${key}: ${node.output().slice(-2000)}`, { cause: error }));
          })
          .finally(() => {
            this.#busy.delete(key);
            this.#underWay.delete(turn);
          });
        this.#underWay.add(turn);
      }
      await sleep(this.#random.between(1000, 4000));
    }
    await Promise.all(this.#underWay);
    if (errors.length > 0) throw errors[0];
  }
}
