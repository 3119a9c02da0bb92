/** Several electors of one process, whose calls reach each other unless a link is cut or a node is stopped. */

import { setImmediate as turn } from "node:timers/promises";
import { type GrpcClient, GrpcError, GrpcStatus } from "@torus/server";
import fc from "fast-check";
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { createReceiveMetrics } from "../metrics.ts";
import { quiet } from "../test-cluster.ts";
import { HaElector } from "./ha-elector.ts";

const FAILOVER = 30_000;
/** An answer holds for so long. */
const LEASE = FAILOVER / 6;
const TENANT = "team";
/** As many clusters that each node is the first of some, and each other one its successor for some. */
const CLUSTERS = Array.from({ length: 24 }, (_, i) => `c${i}`);

class Net {
  clock = 1_000_000;
  calls = 0;
  /** Calls to a stopped node fail by nothing but their deadline, which is not reached here. */
  answersNever = false;
  readonly addresses: string[];
  readonly #nodes = new Map<string, HaElector>();
  readonly #stopped = new Set<string>();
  readonly #cuts = new Set<string>();

  constructor(count: number) {
    this.addresses = Array.from({ length: count }, (_, i) => `10.0.0.${i}:10901`);
    for (const address of this.addresses) this.start(address);
  }

  /** A node that knows nothing, in place of the one that was there. */
  start(address: string): void {
    this.#stopped.delete(address);
    this.#nodes.get(address)?.close();
    const elector = new HaElector({
      failoverMs: FAILOVER,
      maxClusters: 1000,
      localEndpoint: address,
      connect: (to) => this.#client(address, to),
      metrics: createReceiveMetrics(new Registry()),
      log: quiet,
      now: () => this.clock,
    });
    elector.setRing(this.addresses);
    this.#nodes.set(address, elector);
  }

  /** Keeps what it knows, and answers nobody. */
  stop(address: string): void {
    this.#stopped.add(address);
  }

  resume(address: string): void {
    this.#stopped.delete(address);
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from} ${to}`);
  }

  heal(): void {
    this.#cuts.clear();
  }

  get running(): string[] {
    return this.addresses.filter((address) => !this.#stopped.has(address));
  }

  /** For each cluster whether the replica's samples are taken there. */
  async hear(address: string, replica: string): Promise<boolean[]> {
    const elector = this.#nodes.get(address) as HaElector;
    const choice = await elector.choose(
      TENANT,
      CLUSTERS.map((cluster) => [cluster, replica]),
    );
    return CLUSTERS.map((cluster) => choice(cluster, replica));
  }

  /** The replica that each running node listens to, one letter a cluster, "?" for both or none. */
  async listened(): Promise<string[]> {
    return Promise.all(
      this.running.map(async (address) => {
        const [a, b] = [await this.hear(address, "a"), await this.hear(address, "b")];
        return CLUSTERS.map((_, i) => (a[i] === b[i] ? "?" : a[i] === true ? "a" : "b")).join("");
      }),
    );
  }

  /** Lets everything that runs in the background end. */
  async settle(): Promise<void> {
    for (let i = 0; i < 20; i++) await turn();
  }

  #client(from: string, to: string): GrpcClient {
    return {
      address: to,
      unary: async (path, request) => {
        this.calls++;
        await turn();
        const method = this.#nodes.get(to)?.grpcMethods[path];
        const isCut = this.#cuts.has(`${from} ${to}`) || this.#stopped.has(to);
        if (isCut || method?.kind !== "unary") {
          if (this.answersNever) await new Promise(() => undefined);
          throw new GrpcError(GrpcStatus.UNAVAILABLE, `${to} is not there`);
        }
        const context = { metadata: {}, signal: new AbortController().signal };
        return method.handler(request as Uint8Array, context as never);
      },
      serverStream: () => {
        throw new GrpcError(GrpcStatus.UNIMPLEMENTED, "no streams");
      },
      close: () => undefined,
    };
  }
}

const all = (letter: string) => letter.repeat(CLUSTERS.length);

/** The first says a, so that is whom all listen to. */
async function ring(count: number): Promise<Net> {
  const net = new Net(count);
  await net.hear(net.addresses[0] as string, "a");
  expect(await net.listened()).toEqual(net.addresses.map(() => all("a")));
  return net;
}

test("without the owner, one of two that are heard at once after the failover time is elected, by all", async () => {
  for (const gone of [0, 1, 2]) {
    const net = await ring(3);
    net.stop(net.addresses[gone] as string);
    const [one, two] = net.running as [string, string];
    net.clock += FAILOVER;
    const [a, b] = await Promise.all([net.hear(one, "a"), net.hear(two, "b")]);
    expect(a).toEqual(b.map((taken) => !taken));
    const [first, second] = await net.listened();
    expect(first).not.toContain("?");
    expect(second).toBe(first);
  }
});

test("the successor of a successor decides when both are away", async () => {
  const net = await ring(5);
  net.stop(net.addresses[1] as string);
  net.stop(net.addresses[3] as string);
  net.clock += FAILOVER;
  await Promise.all(net.running.map((address, i) => net.hear(address, i === 1 ? "a" : "b")));
  const [first = "?", ...others] = await net.listened();
  expect(first).not.toContain("?");
  expect(others).toEqual(others.map(() => first));
});

test.each(["start", "resume"] as const)(
  "an owner that comes back (%s) goes on with whom its successor elected",
  async (back) => {
    for (const gone of [0, 1, 2]) {
      const net = await ring(3);
      const away = net.addresses[gone] as string;
      net.stop(away);
      net.clock += FAILOVER;
      await net.hear(net.running[0] as string, "b");
      expect(await net.listened()).toEqual([all("b"), all("b")]);
      net.clock += LEASE;
      net[back](away);
      // The first that it hears is the one that was elected before, and no asker has told it anything.
      expect(await net.hear(away, "a")).toEqual(CLUSTERS.map(() => false));
      net.clock += LEASE;
      await net.settle();
      expect(await net.listened()).toEqual([all("b"), all("b"), all("b")]);
    }
  },
);

test("a node that does not reach the owner hears from its successor what the owner says", async () => {
  const net = new Net(3);
  const [x, y, z] = net.addresses as [string, string, string];
  net.cut(y, x);
  expect(await net.hear(z, "a")).toEqual(CLUSTERS.map(() => true));
  // z does not know who asked first where x decides, and asks x.
  expect(await net.hear(y, "b")).toEqual(CLUSTERS.map(() => false));
  net.clock += FAILOVER - 1;
  await net.hear(x, "a");
  net.clock += LEASE;
  expect(await net.hear(y, "b")).toEqual(CLUSTERS.map(() => false));
});

test("a node that reaches nobody listens to one, and joins the others when it is back", async () => {
  const net = await ring(3);
  const [x, y, z] = net.addresses as [string, string, string];
  for (const other of [y, z]) {
    net.cut(x, other);
    net.cut(other, x);
  }
  net.clock += FAILOVER;
  expect(await net.hear(x, "b")).toEqual(CLUSTERS.map(() => true));
  expect(await net.hear(y, "a")).toEqual(CLUSTERS.map(() => true));
  net.heal();
  for (let i = 0; i < 3; i++) {
    net.clock += LEASE;
    await net.listened();
    await net.settle();
  }
  const [first = "?", ...others] = await net.listened();
  expect(first).not.toContain("?");
  expect(others).toEqual([first, first]);
});

test("the elected one is not left for the other because that one always asks first", async () => {
  const net = new Net(3);
  const [x] = net.addresses as [string];
  await net.hear(x, "a");
  for (let i = 0; i < 10; i++) {
    net.clock += LEASE;
    expect(await net.hear(x, "b")).toEqual(CLUSTERS.map(() => false));
    expect(await net.hear(x, "a")).toEqual(CLUSTERS.map(() => true));
  }
});

test("answers are renewed in the background before they end", async () => {
  const net = await ring(3);
  const [x] = net.addresses as [string];
  net.clock += LEASE * 0.75;
  await net.hear(x, "a");
  await net.settle();
  const asked = net.calls;
  net.clock += LEASE * 0.5;
  expect(await net.hear(x, "a")).toEqual(CLUSTERS.map(() => true));
  expect(net.calls).toBe(asked);
});

test("no request waits for a receiver that was found silent", async () => {
  const net = await ring(3);
  const [x, , z] = net.addresses as [string, string, string];
  net.stop(z);
  net.clock += LEASE;
  await net.hear(x, "a");
  net.clock += LEASE;
  net.answersNever = true;
  expect(await net.hear(x, "a")).toEqual(CLUSTERS.map(() => true));
});

type Step = { what: "start" | "stop" | "resume"; node: number; waitMs: number };

const steps = fc.array(
  fc.record<Step>({
    what: fc.constantFrom("start", "stop", "resume"),
    node: fc.nat(2),
    waitMs: fc.nat(FAILOVER / 3),
  }),
  { maxLength: 15 },
);

test("as long as one is left that heard, restarts and stops change nobody that is listened to", () =>
  fc.assert(
    fc.asyncProperty(steps, async (sequence) => {
      const net = await ring(3);
      for (const { what, node, waitMs } of sequence) {
        const address = net.addresses[node] as string;
        const others = net.running.filter((each) => each !== address);
        if (what !== "resume" && others.length === 0) continue;
        net[what](address);
        net.clock += waitMs;
        // The other server of the pair is heard first.
        for (const each of net.running) {
          expect(await net.hear(each, "b")).toEqual(CLUSTERS.map(() => false));
          expect(await net.hear(each, "a")).toEqual(CLUSTERS.map(() => true));
        }
        await net.settle();
      }
    }),
    { numRuns: 40, seed: 6 },
  ));

type Fault = { from: number; to: number; waitMs: number; heard: "a" | "b" | "both"; at: number };

const faults = fc.array(
  fc.record<Fault>({
    from: fc.nat(3),
    to: fc.nat(3),
    waitMs: fc.nat(FAILOVER),
    heard: fc.constantFrom("a", "b", "both"),
    at: fc.nat(3),
  }),
  { maxLength: 20 },
);

test("whatever was cut, all agree when they reach each other again, and do not change their minds", () =>
  fc.assert(
    fc.asyncProperty(faults, async (sequence) => {
      const net = await ring(4);
      for (const { from, to, waitMs, heard, at } of sequence) {
        net.cut(net.addresses[from] as string, net.addresses[to] as string);
        net.clock += waitMs;
        for (const replica of heard === "both" ? ["a", "b"] : [heard]) {
          await net.hear(net.addresses[at] as string, replica);
        }
      }
      net.heal();
      for (let i = 0; i < 4; i++) {
        net.clock += LEASE;
        await net.listened();
        await net.settle();
      }
      const [agreed = "?"] = await net.listened();
      expect(agreed).not.toContain("?");
      for (let i = 0; i < 4; i++) {
        net.clock += LEASE;
        expect(await net.listened()).toEqual(net.addresses.map(() => agreed));
        await net.settle();
      }
    }),
    { numRuns: 40, seed: 6 },
  ));
