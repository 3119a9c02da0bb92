import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable, Writable } from "node:stream";
import { expect, test } from "vitest";
import { type Command, UsageError } from "../command.ts";
import { parseFlags } from "../flags.ts";
import {
  toolsTsdbAnalyze,
  toolsTsdbCreateBlocks,
  toolsTsdbDump,
  toolsTsdbList,
  toolsTsdbVerify,
} from "./tools-tsdb.ts";

/** Written by Prometheus; see test/golden/tsdb/README.md. */
const root = path.join(import.meta.dirname, "../../../../test/golden/tsdb");

function read<T>(file: string): T {
  return JSON.parse(readFileSync(path.join(root, file), "utf8")) as T;
}

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

const lines = (text: string): unknown[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);

type Blocks = { blocks: { ulid: string; content: { series: unknown[] } }[] };
const blockNames = read<{ cases: { name: string }[] }>("index-blocks.json").cases.map(
  ({ name }) => name,
);
const dbNames = read<{ cases: { name: string }[] }>("index-db.json").cases.map(({ name }) => name);

test.each(blockNames)("dump of the blocks of %s is what the golden file says", async (name) => {
  for (const { ulid, content } of read<Blocks>(`blocks/${name}.json`).blocks) {
    const { status, out } = await run(toolsTsdbDump, path.join(root, "blocks", name, ulid));
    expect(lines(out)).toEqual(content.series);
    expect(status).toBe(0);
  }
});

test.each(dbNames)("dump of database %s is what the golden file says", async (name) => {
  const { out, err } = await run(toolsTsdbDump, path.join(root, "db", name));
  expect(lines(out)).toEqual(read<{ query_series: unknown[] }>(`db/${name}.json`).query_series);
  const damaged = name === "torn-tail" || name === "bad-crc-in-middle";
  expect(err !== "").toBe(damaged);
});

test("selectors and times choose, one selector of several is enough", async () => {
  const dir = path.join(root, "db/floats-uncompressed");
  type Line = { labels: [string, string][]; samples: [number, string][] };
  const all = lines((await run(toolsTsdbDump, dir)).out) as Line[];
  const times = all[0]?.samples.map(([time]) => time) ?? [];
  const from = times.at(2) ?? 0;
  const to = times.at(5) ?? 0;
  const { out } = await run(
    toolsTsdbDump,
    '--match={n="0"}',
    '--match=w{n=~"2|3"}',
    `--min-time=${from}`,
    `--max-time=${new Date(to).toISOString()}`,
    dir,
  );
  const some = lines(out) as Line[];
  expect(some.map(({ labels }) => labels[1])).toEqual([
    ["n", "0"],
    ["n", "2"],
  ]);
  expect(some[0]?.samples).toEqual(all[0]?.samples.slice(2, 6));
});

test("OpenMetrics out of one directory makes blocks of the same samples in another", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "tools-tsdb-"));
  try {
    const source = path.join(root, "db/floats-uncompressed");
    const text = await run(toolsTsdbDump, "--format=openmetrics", source);
    expect(text.out).toMatch(/^w\{n="0","utf8\.name"="ü"\} 7 1699999200\.000\n/);
    const file = path.join(dir, "in.om");
    writeFileSync(file, text.out);
    const made = await run(toolsTsdbCreateBlocks, file, path.join(dir, "data"));
    expect(made.out).toMatch(/^[0-9A-Z]{26} 3 series 441 samples\n$/);
    expect(text.err).toBe(
      "torus: 9 histograms and staleness markers have no form in OpenMetrics\n",
    );
    const back = await run(toolsTsdbDump, path.join(dir, "data"));
    type Line = { labels: unknown; samples: [number, string][] };
    const want = (lines((await run(toolsTsdbDump, source)).out) as Line[]).map((line) => ({
      ...line,
      samples: line.samples.filter(([, value]) => !value.startsWith("NaN")),
    }));
    expect(lines(back.out)).toEqual(want);
    expect((await run(toolsTsdbVerify, path.join(dir, "data"))).out).toBe(
      "1 blocks, 3 series, 6 chunks, 441 samples: 0 errors\n",
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("list and analyze say what there is", async () => {
  const dir = path.join(root, "blocks/floats");
  const { out } = await run(toolsTsdbList, dir);
  expect(out.split("\n").length).toBe(4);
  expect(out).toMatch(/2023-11-14T22:00:00.000Z +2023-11-15T00:00:00.000Z +1 +1680 +14 +8\n/);
  expect((await run(toolsTsdbAnalyze, "--limit=1", dir)).out).toMatch(/Total series: 8\n/);
});

test("verify ends with status 1 on damage", async () => {
  const { status, out } = await run(toolsTsdbVerify, path.join(root, "db/bad-crc-in-middle"));
  expect(status).toBe(1);
  expect(out).toMatch(/checksum [0-9a-f]{8}, stored [0-9a-f]{8}\n.*1 errors\n$/);
});

test.each<[command: Command, args: string[], message: RegExp]>([
  [toolsTsdbDump, [], /name a directory/],
  [toolsTsdbDump, ["/nowhere"], /no such directory/],
  [toolsTsdbDump, ["--match={", root], /--match \{: /],
  [toolsTsdbDump, ["--min-time=soon", root], /neither milliseconds nor a date/],
  [toolsTsdbCreateBlocks, ["/nowhere"], /ENOENT/],
])("%o %j is refused", async (command, args, message) => {
  await expect(run(command, ...args)).rejects.toThrow(UsageError);
  await expect(run(command, ...args)).rejects.toThrow(message);
});
