/**
 * Start timestamps of remote write 2.0 and OTLP through the real programs: written to one receiver of a ring of three, held by
 * all three, also of what one of them got only when it came back, and computed with by the query node.
 */

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { ByteWriter, snappyEncode } from "@torus/encoding";
import { type Cluster, startCluster, torusProgram } from "@torus/testkit";
import { afterAll, beforeAll, expect, test } from "vitest";

const run = promisify(execFile);

const dir = mkdtempSync(path.join(tmpdir(), "torus-start-timestamps-"));
let cluster: Cluster;
beforeAll(async () => {
  cluster = await startCluster({
    dir,
    receivers: 3,
    replicationFactor: 3,
    extra: {
      receive: ["--enable-feature=st-storage"],
      query: ["--enable-feature=use-start-timestamps"],
    },
  });
}, 60_000);
afterAll(async () => {
  await cluster.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

/** `startTime` 0 is one that the sender does not know. */
type Sample = { job: string; time: number; value: number; startTime: number };

function field(out: ByteWriter, number: number, body: ByteWriter): void {
  out.uvarint(number * 8 + 2);
  out.uvarint(body.length);
  out.bytes(body.written);
}

/** A Request of remote write 2.0: symbols, then for each sample a series of labels_refs and a Sample. */
function remoteWrite2(samples: readonly Sample[]): Uint8Array {
  const symbols = ["", "__name__", "requests_total", "job", ...samples.map(({ job }) => job)];
  const out = new ByteWriter();
  for (const symbol of symbols) {
    const text = new ByteWriter();
    text.bytes(Buffer.from(symbol));
    field(out, 4, text);
  }
  for (const [i, { time, value, startTime }] of samples.entries()) {
    const series = new ByteWriter();
    const refs = new ByteWriter();
    for (const ref of [1, 2, 3, 4 + i]) refs.uvarint(ref);
    field(series, 1, refs);
    const sample = new ByteWriter();
    sample.u8(0x09);
    const bits = Buffer.alloc(8);
    bits.writeDoubleLE(value);
    sample.bytes(bits);
    sample.u8(0x10);
    sample.uvarint(time);
    if (startTime !== 0) {
      sample.u8(0x18);
      sample.uvarint(startTime);
    }
    field(series, 2, sample);
    field(out, 5, series);
  }
  return snappyEncode(out.copy());
}

async function send(samples: readonly Sample[]): Promise<void> {
  const response = await fetch(cluster.receivers[0]?.remoteWriteUrl ?? "", {
    method: "POST",
    headers: {
      "content-type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
      "content-encoding": "snappy",
      "x-prometheus-remote-write-version": "2.0.0",
    },
    body: Buffer.from(remoteWrite2(samples)),
  });
  expect(response.status, await response.text()).toBe(204);
}

/** The same of a counter in OpenTelemetry's words. */
async function sendOtlp(name: string, { job, time, value, startTime }: Sample): Promise<void> {
  const point = {
    timeUnixNano: `${time}000000`,
    startTimeUnixNano: `${startTime}000000`,
    asInt: value,
    attributes: [{ key: "job", value: { stringValue: job } }],
  };
  const sum = { aggregationTemporality: 2, isMonotonic: true, dataPoints: [point] };
  const metrics = [{ name, sum }];
  const response = await fetch(
    `http://${cluster.receivers[1]?.remoteWrite ?? ""}/api/v1/otlp/v1/metrics`,
    {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ resourceMetrics: [{ scopeMetrics: [{ metrics }] }] }),
    },
  );
  expect(response.status, await response.text()).toBe(200);
}

type Dumped = Record<string, [time: number, value: string, startTime?: number][]>;

/** What `torus tools tsdb dump` shows of each receiver. */
function dumps(): Promise<Dumped[]> {
  return Promise.all(
    cluster.receivers.map(async ({ dataDir }) => {
      const tenant = path.join(dataDir, "default-tenant");
      const args = [torusProgram(), "tools", "tsdb", "dump", tenant];
      const { stdout } = await run(process.execPath, args);
      const out: Dumped = {};
      for (const line of stdout.split("\n").filter(Boolean)) {
        const { labels, samples } = JSON.parse(line) as {
          labels: [string, string][];
          samples: Dumped[string];
        };
        out[new Map(labels).get("job") ?? ""] = samples;
      }
      return out;
    }),
  );
}

/** Copies beyond the quorum are on their way when the sender has its answer. */
async function expectEverywhere(sent: readonly Sample[]): Promise<void> {
  const want: Dumped = {};
  for (const { job, time, value, startTime } of sent) {
    (want[job] ??= []).push([time, String(value), startTime]);
  }
  let found: Dumped[] = [];
  for (let i = 0; i < 60; i++) {
    found = await dumps();
    if (found.every((each) => JSON.stringify(each) === JSON.stringify(want))) break;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  expect(found).toEqual([want, want, want]);
}

test("every receiver of the ring has them, by label, by number and after it was away", async () => {
  const begin = Date.now() - 300_000;
  const sent: Sample[] = [];
  const round = async (n: number) => {
    const time = begin + n * 15_000;
    // One counter began before the first sample, one begins anew in the middle, one never tells.
    const samples = [
      { job: "a", time, value: n + 1, startTime: begin - 1000 },
      { job: "b", time, value: n + 2, startTime: n < 3 ? begin - 5 : begin + 31_000 },
      { job: "c", time, value: n + 3, startTime: 0 },
    ];
    await send(samples);
    sent.push(...samples);
  };
  // From the second on, samples travel as rows of series that are known by number.
  for (let n = 0; n < 5; n++) await round(n);
  await expectEverywhere(sent);
  const away = cluster.receivers[2];
  await away?.kill("SIGKILL");
  for (let n = 5; n < 7; n++) await round(n);
  await away?.start();
  await expectEverywhere(sent);
  for (const receiver of cluster.receivers) await receiver.kill("SIGKILL");
  for (const receiver of cluster.receivers) await receiver.start();
  await round(7);
  const counter = { job: "otlp", time: begin + 7 * 15_000, value: 5, startTime: begin - 7 };
  await sendOtlp("z", counter);
  await expectEverywhere([...sent, counter]);
  for (const { httpUrl } of cluster.receivers) {
    const metrics = await (await fetch(`${httpUrl}/metrics`)).text();
    // Of a and otlp one each, of b two.
    expect(metrics).toContain('torus_tsdb_head_start_timestamp_runs{tenant="default-tenant"} 4');
  }
  const ask = async (expression: string) => {
    const time = String((begin + 7 * 15_000) / 1000);
    const query = new URLSearchParams({ query: expression, time });
    const answer = await fetch(`${cluster.queryUrl}/api/v1/query?${query.toString()}`);
    const { data } = (await answer.json()) as {
      data: { result: { metric: { job?: string }; value: [number, string] }[] };
    };
    return data.result.map(({ metric, value }) => [metric.job, value[1]]);
  };
  const sum = [[undefined, "27"]];
  for (
    let i = 0;
    i < 40 && JSON.stringify(await ask("sum(requests_total)")) !== JSON.stringify(sum);
    i++
  ) {
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  expect(await ask("sum(requests_total)")).toEqual(sum);
  // All values rise: that b began anew only its start timestamp tells.
  const resets = Object.fromEntries(await ask("resets(requests_total[10m])")) as unknown;
  expect(resets).toEqual({ a: "0", b: "1", c: "0" });
}, 90_000);
