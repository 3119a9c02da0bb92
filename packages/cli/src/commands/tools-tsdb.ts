/**
 * `torus tools tsdb`: what blocks and data directories hold, read beside whoever writes them. None of the commands
 * changes its DIR; `create-blocks-from` adds blocks to the directory that it is given for them.
 */

import { once } from "node:events";
import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";
import type { Writable } from "node:stream";
import type { Matcher } from "@torus/model";
import { parseMetricSelector } from "@torus/promql";
import {
  analyzeBlock,
  type BlockAnalysis,
  BlockBuilder,
  BlockReader,
  blockDirectories,
  ConflictingSampleError,
  DataDirectory,
  formatOpenMetrics,
  hasStartTimes,
  isBlockDirectory,
  NoDataDirectoryError,
  OpenMetricsError,
  OpenMetricsReader,
  type Ranked,
  selectAny,
  seriesNotation,
  Verifier,
} from "@torus/tsdb";
import { defineCommand, UsageError } from "../command.ts";
import { flag } from "../flags.ts";

const DIRECTORIES = "DIR...";

function directories(args: readonly string[]): readonly string[] {
  if (args.length === 0) throw new UsageError("name a directory: of a block, or of a TSDB");
  return args;
}

function opened(dir: string): DataDirectory {
  try {
    return new DataDirectory(dir);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** What is damaged is for the user to know, not a fault of the program. */
function readable<T>(dir: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new UsageError(`${dir}: ${what}; see 'torus tools tsdb verify'`, { cause: error });
  }
}

function blocksOf(dir: string): BlockReader[] {
  try {
    const dirs = isBlockDirectory(dir) ? [dir] : blockDirectories(dir);
    return dirs.map((block) => new BlockReader(block)).sort((a, b) => a.minTime - b.minTime);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/** Waits where the reader of a pipe is slower. */
async function write(out: Writable, text: string): Promise<void> {
  if (text !== "" && !out.write(text)) await once(out, "drain");
}

/** Milliseconds since the epoch, or a date as RFC 3339 has it. */
function parseMs(name: string, text: string, absent: number): number {
  if (text === "") return absent;
  const ms = /^-?\d+$/.test(text) ? Number(text) : Date.parse(text);
  if (Number.isNaN(ms)) throw new UsageError(`--${name}: neither milliseconds nor a date: ${text}`);
  return ms;
}

function parseSelector(text: string): readonly Matcher[] {
  try {
    return parseMetricSelector(text);
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error);
    throw new UsageError(`--match ${text}: ${what}`, { cause: error });
  }
}

export const toolsTsdbDump = defineCommand({
  name: "tools tsdb dump",
  summary: "print the samples of blocks and data directories",
  positional: DIRECTORIES,
  flags: {
    match: flag.strings("Series selector; of several, one has to match."),
    "min-time": flag.string("First time, milliseconds or RFC 3339.", { default: "" }),
    "max-time": flag.string("Last time, milliseconds or RFC 3339.", { default: "" }),
    format: flag.choice(
      "What a line is: a series as JSON, or a sample.",
      ["jsonl", "openmetrics"],
      {
        default: "jsonl",
      },
    ),
  },
  run: async (config, { args, stdout, stderr }) => {
    const lists = config.match.map(parseSelector);
    const mint = parseMs("min-time", config["min-time"], Number.NEGATIVE_INFINITY);
    const maxt = parseMs("max-time", config["max-time"], Number.POSITIVE_INFINITY);
    let left = 0;
    for (const dir of directories(args)) {
      const directory = opened(dir);
      for (const finding of directory.head?.findings ?? []) {
        const where = "dir" in finding ? `${finding.dir} segment ${finding.segment}` : finding.file;
        stderr.write(`torus: ${where} at ${finding.offset}: ${finding.reason}\n`);
      }
      const withStartTimes =
        config.format === "jsonl" && readable(dir, () => hasStartTimes(directory));
      const found = selectAny(directory, lists, mint, maxt)[Symbol.iterator]();
      for (;;) {
        const next = readable(dir, () => found.next());
        if (next.done === true) break;
        const { labels, samples } = next.value;
        if (config.format === "jsonl") {
          const series = seriesNotation(labels, samples, withStartTimes);
          await write(stdout, `${JSON.stringify(series)}\n`);
        } else {
          const lines = formatOpenMetrics(labels, samples);
          left += lines.left;
          await write(stdout, lines.text);
        }
      }
    }
    if (config.format === "openmetrics") await write(stdout, "# EOF\n");
    if (left > 0) {
      stderr.write(`torus: ${left} histograms and staleness markers have no form in OpenMetrics\n`);
    }
    return 0;
  },
});

export const toolsTsdbList = defineCommand({
  name: "tools tsdb list",
  summary: "list the blocks of data directories",
  positional: DIRECTORIES,
  flags: {},
  run: async (_, { args, stdout }) => {
    const rows = [
      ["BLOCK ULID", "MIN TIME", "MAX TIME", "LEVEL", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES"],
    ];
    for (const dir of directories(args)) {
      for (const { meta } of blocksOf(dir)) {
        const { stats } = meta;
        const counts = [stats.numSamples, stats.numChunks, stats.numSeries];
        rows.push([
          meta.ulid,
          new Date(meta.minTime).toISOString(),
          new Date(meta.maxTime).toISOString(),
          String(meta.compaction.level),
          ...counts.map((count) => String(count ?? 0)),
        ]);
      }
    }
    await write(stdout, table(rows));
    return 0;
  },
});

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, i) => cell.padEnd(widths[i] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

export const toolsTsdbAnalyze = defineCommand({
  name: "tools tsdb analyze",
  summary: "show where the series of blocks come from",
  positional: DIRECTORIES,
  flags: { limit: flag.integer("Length of each list.", { default: "20" }) },
  run: async ({ limit }, { args, stdout }) => {
    for (const dir of directories(args)) {
      for (const block of blocksOf(dir)) {
        const found = readable(block.dir, () => analyzeBlock(block, limit));
        await write(stdout, analysisText(block, found));
      }
    }
    return 0;
  },
});

function analysisText({ meta }: BlockReader, found: BlockAnalysis): string {
  const bytes = found.samples === 0 ? 0 : found.chunkBytes / found.samples;
  const list = (title: string, ranks: readonly Ranked[]) =>
    `\n${title}\n${ranks.map(({ name, count }) => `${count} ${name}\n`).join("")}`;
  return [
    `Block ID: ${meta.ulid}\n`,
    `Range: ${new Date(meta.minTime).toISOString()} to ${new Date(meta.maxTime).toISOString()}\n`,
    `Total series: ${found.series}\nTotal chunks: ${found.chunks}\nTotal samples: ${found.samples}\n`,
    `Bytes of a sample: ${bytes.toFixed(3)}\n`,
    `Label names: ${found.labelNames}\nLabel pairs: ${found.labelPairs}\n`,
    list("Highest cardinality labels:", found.valuesByName),
    list("Label names with most bytes of values:", found.valueBytesByName),
    list("Most common label pairs:", found.seriesByPair),
    list("Highest cardinality metric names:", found.seriesByMetric),
    list("Chunks by encoding:", found.chunksByEncoding),
    "\n",
  ].join("");
}

export const toolsTsdbVerify = defineCommand({
  name: "tools tsdb verify",
  summary: "check every checksum, offset and order of blocks and data directories",
  positional: DIRECTORIES,
  flags: {},
  run: async (_, { args, stdout }) => {
    const verifier = new Verifier();
    for (const dir of directories(args)) {
      try {
        verifier.directory(dir);
      } catch (error) {
        if (!(error instanceof NoDataDirectoryError)) throw error;
        throw new UsageError(error.message, { cause: error });
      }
    }
    for (const { severity, where, what } of verifier.findings) {
      await write(stdout, `${severity} ${where}: ${what}\n`);
    }
    if (verifier.notTold > 0) await write(stdout, `and ${verifier.notTold} more\n`);
    const errors = verifier.findings.filter(({ severity }) => severity === "error").length;
    const { blocks, series, chunks, samples } = verifier.counts;
    await write(
      stdout,
      `${blocks} blocks, ${series} series, ${chunks} chunks, ${samples} samples: ${errors} errors\n`,
    );
    return errors > 0 ? 1 : 0;
  },
});

export const toolsTsdbCreateBlocks = defineCommand({
  name: "tools tsdb create-blocks-from openmetrics",
  summary: "make blocks of two hours from OpenMetrics text with timestamps",
  positional: "FILE [OUTPUT_DIR]",
  flags: {},
  run: async (_, { args, stdout }) => {
    const [file, dir = "data"] = args;
    if (file === undefined) throw new UsageError("name the file to read");
    const reader = new OpenMetricsReader();
    const builder = new BlockBuilder(2 * 60 * 60 * 1000);
    try {
      const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
      for await (const line of lines) {
        const sample = reader.read(line);
        if (sample !== null) builder.add(sample.labels, sample.time, sample.value);
      }
      reader.end();
      const metas = await builder.write(dir, Date.now);
      for (const { ulid, stats } of metas) {
        await write(
          stdout,
          `${ulid} ${stats.numSeries ?? 0} series ${stats.numSamples ?? 0} samples\n`,
        );
      }
    } catch (error) {
      const expected =
        error instanceof OpenMetricsError ||
        error instanceof ConflictingSampleError ||
        (error instanceof Error && "code" in error);
      if (!expected) throw error;
      throw new UsageError(`${file}: ${error.message}`, { cause: error });
    }
    return 0;
  },
});
