import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable, Writable } from "node:stream";
import { labelsFromObject } from "@torus/model";
import { freePorts, type RunningProcess, startProcess } from "@torus/testkit";
import { BlockBuilder } from "@torus/tsdb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Command, UsageError } from "../command.ts";
import { parseFlags } from "../flags.ts";
import {
  toolsQueryInstant,
  toolsQueryLabels,
  toolsQueryRange,
  toolsQuerySeries,
} from "./tools-query.ts";

const PROMETHEUS = "/usr/bin/prometheus";
const golden = path.join(import.meta.dirname, "../../../../test/golden/tsdb");
/** Of yesterday, so that it is history to Prometheus; samples 5 s beside the whole minutes. */
const START_MS = Math.floor(Date.now() / 7_200_000) * 7_200_000 - 86_400_000;

class Collected extends Writable {
  text = "";
  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function run(command: Command, ...argv: string[]) {
  const stdout = new Collected();
  const stderr = new Collected();
  const { config, args } = parseFlags(command.flags, argv);
  const env = { version: "test", stdin: Readable.from([]), stdout, stderr, args };
  const status = await command.run(config, env);
  return { status, out: stdout.text, err: stderr.text };
}

const commands = {
  instant: toolsQueryInstant,
  range: toolsQueryRange,
  series: toolsQuerySeries,
  labels: toolsQueryLabels,
} as const;

const dir = mkdtempSync(path.join(tmpdir(), "torus-tools-query-"));
const data = path.join(dir, "data");

beforeAll(async () => {
  const builder = new BlockBuilder(7_200_000);
  const words = new BigUint64Array(1);
  const value = new Float64Array(words.buffer);
  for (const [i, job] of ["api", "<web>", 'da"ta'].entries()) {
    for (let n = 0; n < 400; n++) {
      value[0] = (n * (i + 1) * 1000) / 7 - 3e7;
      const time = START_MS + n * 60_000 + 5000;
      builder.add(
        labelsFromObject({ __name__: "work_total", job, shard: String(i) }),
        time,
        words[0] as bigint,
      );
      value[0] = [1e-7, 1e22, Number.NaN, -0, Infinity, -Infinity, 0.1][n % 7] as number;
      builder.add(labelsFromObject({ __name__: "odd", job }), time, words[0] as bigint);
    }
  }
  await builder.write(data, Date.now);
});

afterAll(() => rmSync(dir, { recursive: true, force: true }));

const at = (minutes: number) => String((START_MS + minutes * 60_000) / 1000);
const questions: [kind: keyof typeof commands, words: string[], flags: string[]][] = [
  ["instant", ["work_total"], [`--time=${at(30)}`]],
  ["instant", ["sum(rate(work_total[5m]))"], [`--time=${new Date(START_MS + 1e7).toISOString()}`]],
  ["instant", ["odd * 1"], [`--time=${at(33.25)}`]],
  ["instant", ["work_total[3m]"], [`--time=${at(30)}`]],
  ["instant", ["vector(1e-7)"], [`--time=${at(30)}`]],
  ["instant", ["1e22"], [`--time=${at(30)}`]],
  ["instant", ["nothing"], [`--time=${at(30)}`]],
  ["range", ["odd"], [`--start=${at(10)}`, `--end=${at(60)}`, "--step=30s"]],
  ["range", ["max by (job) (work_total)"], [`--start=${at(10)}`, `--end=${at(399)}`]],
  ["range", ["time()"], [`--start=${at(10.001)}`, `--end=${at(20)}`, "--step=1m"]],
  ["series", [], ['--match=work_total{job!="api"}', "--match=odd"]],
  ["series", [], ["--match=odd", `--start=${at(500)}`]],
  ["labels", ["job"], []],
  ["labels", ["shard"], ["--match=odd"]],
];

describe.skipIf(!existsSync(PROMETHEUS))(
  "beside a real Prometheus (needs prometheus, promtool)",
  () => {
    let prometheus: RunningProcess | undefined;
    let server = "";

    beforeAll(async () => {
      const config = path.join(dir, "prometheus.yml");
      writeFileSync(config, "global: { scrape_interval: 1h }\n");
      const [port = 0] = await freePorts(1);
      server = `http://127.0.0.1:${port}`;
      prometheus = await startProcess({
        name: "prometheus",
        command: PROMETHEUS,
        args: [
          `--config.file=${config}`,
          `--storage.tsdb.path=${data}`,
          `--web.listen-address=127.0.0.1:${port}`,
        ],
        readyUrl: `${server}/-/ready`,
      });
    }, 60_000);

    afterAll(() => prometheus?.stop());

    test.each(questions)(
      "%s %j %j is printed as promtool prints it",
      async (kind, words, flags) => {
        for (const format of ["promql", "json"]) {
          const argv = [...flags, `--format=${format}`];
          const promtool = ["query", kind, ...argv.slice(0, -1), "-o", format, server, ...words];
          const want = execFileSync("promtool", promtool, { encoding: "utf8" });
          const remote = await run(commands[kind], ...argv, server, ...words);
          expect(remote).toEqual({ status: 0, out: want, err: "" });
          const direct = await run(commands[kind], ...argv, `--tsdb.path=${data}`, ...words);
          expect(direct).toEqual({ status: 0, out: want, err: direct.err });
        }
      },
    );

    test("a query that the server refuses is told as promtool tells it", async () => {
      const got = await run(toolsQueryInstant, server.replace("http://", ""), "sum(");
      expect(got.status).toBe(1);
      expect(got.err).toContain("query error: bad_data: ");
      expect(got.err).toContain("parse error: ");
      const itself = await run(toolsQueryInstant, `--tsdb.path=${data}`, "sum(");
      expect(itself).toMatchObject({ status: 1, out: "" });
      expect(itself.err).toContain("query error: bad_data: 1:");
    });
  },
);

test("what is in the log only and what is in blocks is found together", async () => {
  const db = path.join(golden, "db/tombstones-segments-checkpoint");
  const instant = (expr: string) =>
    run(toolsQueryInstant, `--tsdb.path=${db}`, "--time=1700000100", expr);
  expect((await instant('count({__name__=~".+"})')).out).toBe("{} => 9 @[1700000100]\n");
});

test("native histograms are shown with their buckets", async () => {
  const db = path.join(golden, "db/mixed-snappy");
  const { out } = await run(
    toolsQueryInstant,
    `--tsdb.path=${db}`,
    "--time=1699999202",
    "nhcb + 0 * nhcb",
  );
  expect(out).toBe(
    '{job="h"} => Count: 5.000000, Sum: 18.400000, Buckets: [(-Inf,0]:1 (0,1]:2 (2,3]:1 (3,4]:1] @[1699999202]\n',
  );
  const json = await run(
    toolsQueryInstant,
    `--tsdb.path=${db}`,
    "--time=1699999202",
    "--format=json",
    "int_hist",
  );
  const [{ histogram }] = JSON.parse(json.out) as [{ histogram: [number, { buckets: unknown[] }] }];
  expect(histogram[0]).toBe(1699999202);
  expect(histogram[1]).toMatchObject({ count: "12", sum: "18.4" });
  expect(histogram[1].buckets).toContainEqual([3, "-0.001", "0.001", "2"]);
});

test("a server that answers with something else, or not at all, is named", async () => {
  const other = http.createServer((_, response) => response.writeHead(502).end("<html>"));
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  try {
    const got = await run(toolsQueryInstant, `127.0.0.1:${port}`, "up");
    expect(got).toEqual({
      status: 1,
      out: "",
      err: "query error: server_error: server error: 502\n",
    });
  } finally {
    await new Promise((resolve) => other.close(resolve));
  }
  const gone = await run(toolsQueryInstant, `127.0.0.1:${port}`, "up");
  expect(gone.status).toBe(1);
  expect(gone.err).toContain(`http://127.0.0.1:${port}/api/v1/query`);
});

test.each([
  ["no directory", ["--tsdb.path=/nowhere", "up"]],
  ["a server too many", [`--tsdb.path=${golden}/db/mixed-snappy`, "localhost:9090", "up"]],
  ["no expression", ["localhost:9090"]],
  ["a time that is none", ["--time=yesterday", "localhost:9090", "up"]],
])("%s is refused", async (_, argv) => {
  await expect((async () => run(toolsQueryInstant, ...argv))()).rejects.toThrow(UsageError);
});
