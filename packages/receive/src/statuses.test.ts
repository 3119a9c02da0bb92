/**
 * Which status a sender gets for what, of each protocol: Thanos' (docs/components/receive.md), with what the
 * specification of remote write 2.0 asks for (415, 2xx only when all is written), and Retry-After wherever coming
 * again helps.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { snappyEncode } from "@torus/encoding";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ReceiverOptions } from "./receiver.ts";
import { Node, type Sample, writeBody } from "./test-cluster.ts";

const root = mkdtempSync(path.join(tmpdir(), "torus-statuses-"));
const disk = mkdtempSync(path.join(tmpdir(), "torus-statuses-disk-"));
const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", disk]).status === 0;
const nodes: Record<string, Node> = {};
const now = Date.now();

const LIMITS = `write:
  tenants:
    size: {request: {size_bytes_limit: 60}}
    series: {request: {series_limit: 2}}
    samples: {request: {samples_limit: 2}}
    head: {head_series_limit: 2}
    metric: {head_series_per_metric_limit: 1}
    labels: {labels: {value_length_limit: 5}}
    rate: {rate: {samples_per_second: 2}}
    bytes: {rate: {bytes_per_second: 10}}
`;
/** Nobody listens there. */
const AWAY = ["127.0.0.1:1", "127.0.0.1:2"];

async function node(name: string, dir: string, overrides: Partial<ReceiverOptions>): Promise<void> {
  const each = new Node(dir);
  nodes[name] = each;
  await each.listen();
  await each.open(
    { localEndpoint: "", ...overrides },
    { path: dir, maxTenants: name === "few tenants" ? 2 : 20 },
  );
}

beforeAll(async () => {
  const inline = (text: string) => ({ file: "", inline: text });
  const own = (name: string) => path.join(root, name);
  const http = {
    tenantHeader: "THANOS-TENANT",
    certificateField: "" as const,
    replicaHeader: "THANOS-REPLICA",
    maxRequestBytes: 100_000,
    maxPendingBytes: 1 << 20,
  };
  await node("plain", own("plain"), { http });
  await node("limited", own("limited"), { limits: { source: inline(LIMITS), refreshMs: 1e6 } });
  await node("few tenants", own("few"), {});
  await node("crowded", own("crowded"), { http: { ...http, maxPendingBytes: 10 } });
  await node("draining", own("draining"), {});
  nodes.draining?.receiver?.drain();
  await node("no ring", own("no-ring"), {
    hashrings: inline(JSON.stringify([{ tenants: ["other"], endpoints: AWAY }])),
  });
  await node("peers away", own("away"), {
    hashrings: inline(JSON.stringify([{ endpoints: AWAY }])),
  });
  const routing = new Node(own("routing"));
  nodes.routing = routing;
  await routing.listen();
  const endpoints = [routing.address];
  await routing.open({ hashrings: inline(JSON.stringify([{ endpoints }])) });
  if (!mounted) return;
  await node("full disk", disk, {});
  writeFileSync(path.join(disk, "ballast"), new Uint8Array(4 << 20).subarray(0, 3 << 20));
  try {
    for (let i = 0; ; i++) writeFileSync(path.join(disk, `ballast-${i}`), new Uint8Array(4096));
  } catch {
    // Full.
  }
});

afterAll(async () => {
  await Promise.all(Object.values(nodes).map((each) => each.stop().catch(() => undefined)));
  if (mounted) spawnSync("umount", ["-l", disk]);
  for (const dir of [root, disk]) rmSync(dir, { recursive: true, force: true });
});

const PROTOCOLS = ["remote write 1.0", "remote write 2.0", "OTLP"] as const;
type Protocol = (typeof PROTOCOLS)[number];

const V2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return [...bytes, rest];
}

function field(tag: number, content: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(tag, ...varint(content.length)), content]);
}

/** An io.prometheus.write.v2.Request: symbols in field 4, series (label references, samples) in field 5. */
function writeBody2(samples: readonly Sample[]): Uint8Array {
  const symbols = ["", ...new Set(samples.flatMap(([labels]) => labels))];
  const series = samples.map(([labels, at, value]) => {
    const refs = Buffer.from(labels.flatMap((each) => varint(symbols.indexOf(each))));
    const sample = Buffer.alloc(9);
    sample[0] = 0x09;
    sample.writeDoubleLE(value, 1);
    const whole = Buffer.concat([sample, Buffer.of(0x10, ...varint(at))]);
    return field(0x2a, Buffer.concat([field(0x0a, refs), field(0x12, whole)]));
  });
  return snappyEncode(
    Buffer.concat([...symbols.map((each) => field(0x22, Buffer.from(each))), ...series]),
  );
}

/** Gauges of one resource; labels are attributes. */
function otlpBody(samples: readonly Sample[]): Uint8Array {
  const metrics = samples.map(([labels, at, value]) => {
    const attributes: { key: string; value: { stringValue: string } }[] = [];
    for (let i = 2; i < labels.length; i += 2) {
      attributes.push({ key: labels[i] ?? "", value: { stringValue: labels[i + 1] ?? "" } });
    }
    const dataPoints = [{ timeUnixNano: `${at}000000`, asDouble: value, attributes }];
    return { name: labels[1], gauge: { dataPoints } };
  });
  return Buffer.from(JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics }] }] }));
}

const BODIES = { "remote write 1.0": writeBody, "remote write 2.0": writeBody2, OTLP: otlpBody };
const TYPES = {
  "remote write 1.0": "application/x-protobuf",
  "remote write 2.0": V2,
  OTLP: "application/json",
};

type Send = { to: string; tenant?: string; headers?: Record<string, string> };

async function send(protocol: Protocol, target: Send, body: Uint8Array) {
  const node = nodes[target.to] as Node;
  const url = protocol === "OTLP" ? node.http.replace("/receive", "/otlp/v1/metrics") : node.http;
  const response = await fetch(url, {
    method: "POST",
    headers: {
      "content-type": TYPES[protocol],
      "THANOS-TENANT": target.tenant ?? "t",
      ...target.headers,
    },
    body,
  });
  const text = await response.text();
  return { status: response.status, retryAfter: response.headers.get("retry-after"), text };
}

const sample = (name: string, at = now, value = 1, more: string[] = []): Sample => [
  ["__name__", name, ...more],
  at,
  value,
];
const many = (count: number) => Array.from({ length: count }, (_, i) => sample(`m${i}`));

type Case = {
  cause: string;
  target: Send;
  /** What came before it, and what gets the status. */
  before?: readonly Sample[];
  samples?: readonly Sample[];
  /** Instead of samples. */
  raw?: Uint8Array;
  /** Of remote write 1.0, 2.0 and OTLP; null where there is no such thing. */
  status: readonly [number | null, number | null, number | null];
  text: RegExp;
};

const CASES: Case[] = [
  {
    cause: "all stored",
    target: { to: "plain" },
    samples: many(3),
    status: [204, 204, 200],
    text: /^\{?\}?$/,
  },
  {
    cause: "nothing inside",
    target: { to: "plain" },
    samples: [],
    status: [204, 204, 200],
    text: /^\{?\}?$/,
  },
  {
    cause: "the same sample again",
    target: { to: "plain", tenant: "again" },
    before: many(1),
    samples: many(1),
    status: [204, 204, 200],
    text: /^\{?\}?$/,
  },
  {
    cause: "another value at the same time",
    target: { to: "plain", tenant: "value" },
    before: [sample("m", now, 1)],
    samples: [sample("m", now, 2)],
    status: [409, 409, 400],
    text: /duplicate sample for timestamp/,
  },
  {
    cause: "a sample out of order",
    target: { to: "plain", tenant: "order" },
    before: [sample("m", now)],
    samples: [sample("m", now - 1000)],
    status: [409, 409, 400],
    text: /out of order/,
  },
  {
    cause: "a sample out of bounds",
    target: { to: "plain", tenant: "bounds" },
    before: [sample("m", now)],
    samples: [sample("n", now - 86_400_000)],
    status: [409, 409, 400],
    text: /out of bounds/,
  },
  {
    cause: "a sample far in the future",
    target: { to: "plain", tenant: "future" },
    samples: [sample("m", now + 3_600_000)],
    status: [409, 409, 400],
    text: /too far in the future/,
  },
  {
    cause: "a label twice",
    target: { to: "plain" },
    samples: [sample("m", now, 1, ["a", "1", "a", "2"])],
    status: [409, 409, null],
    text: /invalid labels/,
  },
  {
    cause: "a body that is none",
    target: { to: "plain" },
    raw: Buffer.from("hello"),
    status: [400, 400, 400],
    text: /./,
  },
  {
    cause: "a body that decodes to no message",
    target: { to: "plain" },
    raw: snappyEncode(Uint8Array.of(0x0a, 0x7f, 1)),
    status: [400, 400, 400],
    text: /./,
  },
  {
    cause: "a tenant that is no name",
    target: { to: "plain", tenant: "a/b" },
    samples: many(1),
    status: [400, 400, 400],
    text: /tenant name not valid/,
  },
  {
    cause: "a replica that is no number",
    target: { to: "routing", headers: { "THANOS-REPLICA": "x" } },
    samples: many(1),
    status: [400, 400, null],
    text: /replica header/,
  },
  {
    cause: "a replica above the factor",
    target: { to: "routing", headers: { "THANOS-REPLICA": "2" } },
    samples: many(1),
    status: [400, 400, null],
    text: /replica count exceeds replication factor/,
  },
  {
    cause: "a label over the tenant's limit",
    target: { to: "limited", tenant: "labels" },
    samples: [sample("m", now, 1, ["a", "123456"])],
    status: [400, 400, 400],
    text: /over the limit of/,
  },
  {
    cause: "another content type",
    target: { to: "plain", headers: { "content-type": "text/plain" } },
    samples: many(1),
    status: [415, 415, 415],
    text: /content type text\/plain is not supported/,
  },
  {
    cause: "another message",
    target: { to: "plain", headers: { "content-type": "application/x-protobuf;proto=x.Y" } },
    samples: many(1),
    status: [415, 415, null],
    text: /protobuf message x\.Y is not supported/,
  },
  {
    cause: "2.0 without a content type",
    target: {
      to: "plain",
      headers: { "content-type": "", "x-prometheus-remote-write-version": "2.0.0" },
    },
    samples: many(1),
    status: [null, 415, null],
    text: /without a content type/,
  },
  {
    cause: "another encoding",
    target: { to: "plain", headers: { "content-encoding": "br" } },
    samples: many(1),
    status: [415, 415, 415],
    text: /content encoding br is not supported/,
  },
  {
    cause: "a body over the receiver's limit",
    target: { to: "plain" },
    raw: new Uint8Array(100_001),
    status: [413, 413, 413],
    text: /the limit is 100000 bytes/,
  },
  {
    cause: "a body that claims to be larger",
    target: { to: "plain" },
    raw: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f, 0),
    status: [413, 413, null],
    text: /./,
  },
  {
    cause: "a body over the tenant's limit",
    target: { to: "limited", tenant: "size" },
    samples: many(50),
    status: [413, 413, 413],
    text: /body_size of \d+ is over the limit of 60/,
  },
  {
    cause: "series over the tenant's limit",
    target: { to: "limited", tenant: "series" },
    samples: many(3),
    status: [413, 413, 413],
    text: /series of 3 is over the limit of 2/,
  },
  {
    cause: "samples over the tenant's limit",
    target: { to: "limited", tenant: "samples" },
    samples: many(3),
    status: [413, 413, 413],
    text: /samples of 3 is over the limit of 2/,
  },
  {
    cause: "head series over the tenant's limit",
    target: { to: "limited", tenant: "head" },
    samples: many(3),
    status: [429, 429, 429],
    text: /limit of head series reached/,
  },
  {
    cause: "series of a metric over the limit",
    target: { to: "limited", tenant: "metric" },
    samples: [sample("m"), sample("m", now, 1, ["a", "b"])],
    status: [429, 429, 429],
    text: /limit of head series reached/,
  },
  {
    cause: "samples per second over the limit",
    target: { to: "limited", tenant: "rate" },
    before: many(50),
    samples: many(50),
    status: [429, 429, 429],
    text: /limit of 2 samples per second is reached/,
  },
  {
    cause: "bytes per second over the limit",
    target: { to: "limited", tenant: "bytes" },
    before: many(50),
    samples: many(50),
    status: [429, 429, 429],
    text: /limit of 10 bytes per second is reached/,
  },
  {
    cause: "a tenant too many",
    target: { to: "few tenants", tenant: "third" },
    samples: many(1),
    status: [429, 429, 429],
    text: /limit of 2 tenants/,
  },
  {
    cause: "no hashring for the tenant",
    target: { to: "no ring" },
    samples: many(1),
    status: [500, 500, 500],
    text: /no matching hashring/,
  },
  {
    cause: "a receiver that stops",
    target: { to: "draining" },
    samples: many(1),
    status: [503, 503, 503],
    text: /not ready: shutting down/,
  },
  {
    cause: "owners that are away",
    target: { to: "peers away" },
    samples: many(1),
    status: [503, 503, 503],
    text: /target not available/,
  },
  {
    cause: "too many bytes under way",
    target: { to: "crowded" },
    samples: many(1),
    status: [503, 503, 503],
    text: /requests under way hold 10 bytes/,
  },
];

const rows = CASES.flatMap((each) =>
  PROTOCOLS.flatMap((protocol, i) => {
    const status = each.status[i] ?? null;
    return status === null ? [] : [[each.cause, protocol, status, each] as const];
  }),
);

test.each(rows)(
  "%s, %s: %i",
  async (_, protocol, status, { target, before, samples, raw, text }) => {
    // Tenants of their own: what one protocol wrote is no conflict of another.
    const isShared = target.to !== "plain" || target.tenant === "a/b";
    const tenant = isShared
      ? target.tenant
      : `${target.tenant ?? "t"}-${protocol.replaceAll(" ", "-")}`;
    const where = { ...target, ...(tenant === undefined ? {} : { tenant }) };
    if (target.to === "few tenants")
      await send(protocol, { ...where, tenant: "second" }, BODIES[protocol](many(1)));
    if (before !== undefined)
      await send(
        protocol,
        { to: where.to, ...(tenant === undefined ? {} : { tenant }) },
        BODIES[protocol](before),
      );
    const answer = await send(protocol, where, raw ?? BODIES[protocol](samples ?? []));
    expect(answer.status, answer.text).toBe(status);
    if (status === 429 || status === 503) expect(Number(answer.retryAfter)).toBeGreaterThan(0);
    else expect(answer.retryAfter).toBeNull();
    expect(answer.text).toMatch(text);
  },
);

test.skipIf(!mounted).each(PROTOCOLS)(
  "a full disk (a tmpfs, which root can mount), %s: 503",
  async (protocol) => {
    const large = [sample("m", now, 1, ["a", "x".repeat(70_000)])];
    const target = { to: "full disk", tenant: "default-tenant" };
    const answer = await send(protocol, target, BODIES[protocol](large));
    expect(answer).toMatchObject({ status: 503, retryAfter: "5" });
    if (protocol !== "OTLP") expect(answer.text).toContain("no space left on device");
  },
);
