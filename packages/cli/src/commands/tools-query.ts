/**
 * `torus tools query instant|range|series|labels [SERVER] EXPR`: asks a server over the Prometheus HTTP API, or with
 * `--tsdb.path` the engine straight on a data directory, which is read beside whoever writes it and not changed.
 */

import { once } from "node:events";
import { compareLabels, compareStrings, type Labels, type Matcher } from "@torus/model";
import {
  Engine,
  PromqlParseError,
  parseMetricSelector,
  QueryCanceledError,
  QueryExecutionError,
  type QueryResult,
  QueryTimeoutError,
} from "@torus/promql";
import { DataDirectory, DirectoryColumns } from "@torus/tsdb";
import { type CommandEnv, defineCommand, UsageError } from "../command.ts";
import { parseDuration } from "../flag-values.ts";
import { flag } from "../flags.ts";
import {
  type Answer,
  type Format,
  formatAnswer,
  formatNames,
  formatSeries,
  shownHistogram,
} from "./tools-query-format.ts";
import { QueryApiError, RemoteApi } from "./tools-query-remote.ts";

/** How far series and labels look back where no start is given, as promtool does. */
const DEFAULT_PAST_MS = 9999 * 3_600_000;

const common = {
  format: flag.choice("Output format of the query.", ["promql", "json"], { default: "promql" }),
  "tsdb.path": flag.string("Data directory to read instead of asking a server.", { default: "" }),
  header: flag.strings("Extra header to send to the server, NAME=VALUE; repeatable."),
};

type CommonConfig = { format: Format; "tsdb.path": string; header: readonly string[] };

const engineFlags = {
  "query.timeout": flag.duration("Time that a query on a data directory may take.", {
    default: "2m",
  }),
  "query.max-samples": flag.integer("Samples that a query on a data directory may hold.", {
    default: "50000000",
  }),
  "query.lookback-delta": flag.duration("How far an instant selector looks back.", {
    default: "5m",
  }),
};

type EngineConfig = {
  "query.timeout": number;
  "query.max-samples": number;
  "query.lookback-delta": number;
};

/** What to ask, and the words of the command line after the server. */
type Target =
  | { kind: "server"; api: RemoteApi; rest: readonly string[] }
  | { kind: "directory"; data: DirectoryColumns; rest: readonly string[] };

function targetOf(config: CommonConfig, env: CommandEnv, wanted: readonly string[]): Target {
  const path = config["tsdb.path"];
  const words = path === "" ? ["SERVER", ...wanted] : wanted;
  if (env.args.length !== words.length) {
    throw new UsageError(
      `want ${words.length} arguments, ${words.join(" ")}; got ${env.args.length}`,
    );
  }
  if (path === "") {
    const [server = "", ...rest] = env.args;
    const headers = Object.fromEntries(
      config.header.map((text) => {
        const at = text.indexOf("=");
        if (at < 1) throw new UsageError(`--header ${text}: want NAME=VALUE`);
        return [text.slice(0, at), text.slice(at + 1)];
      }),
    );
    const onWarning = (text: string) => env.stderr.write(`query warning: ${text}\n`);
    return { kind: "server", api: new RemoteApi(server, headers, onWarning), rest };
  }
  let directory: DataDirectory;
  try {
    directory = new DataDirectory(path);
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
  for (const finding of directory.head?.findings ?? []) {
    const where = "dir" in finding ? `${finding.dir} segment ${finding.segment}` : finding.file;
    env.stderr.write(`query warning: ${where} at ${finding.offset}: ${finding.reason}\n`);
  }
  return { kind: "directory", data: new DirectoryColumns(directory), rest: env.args };
}

/** Seconds since the epoch, or a date as RFC 3339 has it; in ms. */
function parseTime(name: string, text: string, absent: number): number {
  if (text === "") return absent;
  const ms = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)
    ? Math.round(Number(text) * 1000)
    : Date.parse(text);
  if (Number.isNaN(ms))
    throw new UsageError(`--${name}: cannot parse ${JSON.stringify(text)} to a valid timestamp`);
  return ms;
}

function seconds(ms: number): string {
  return String(ms / 1000);
}

function engineOf(config: EngineConfig): Engine {
  return new Engine({
    timeoutMs: config["query.timeout"],
    maxSamples: config["query.max-samples"],
    lookbackDeltaMs: config["query.lookback-delta"],
    now: Date.now,
  });
}

function shown(result: QueryResult, env: CommandEnv): Answer {
  for (const text of [...result.warnings, ...result.infos]) {
    env.stderr.write(`query warning: ${text}\n`);
  }
  if (result.type === "scalar" || result.type === "string") return result;
  return {
    type: result.type,
    series: result.series.map(({ labels, timestamps, values, histograms }) => ({
      labels,
      timestamps,
      values,
      histograms:
        histograms?.map((each) => (each === undefined ? undefined : shownHistogram(each))) ?? null,
    })),
  };
}

/** Prints what `ask` gives; an error that the query itself caused is told as promtool does. */
async function print(env: CommandEnv, ask: () => Promise<string>): Promise<number> {
  let text: string;
  try {
    text = await ask();
  } catch (error) {
    const type = errorType(error);
    if (type === null) throw error;
    env.stderr.write(`query error: ${type}${(error as Error).message}\n`);
    return 1;
  }
  if (text !== "" && !env.stdout.write(text)) await once(env.stdout, "drain");
  return 0;
}

/** The HTTP API's word for it; null for what is no fault of the query. */
function errorType(error: unknown): string | null {
  if (error instanceof QueryApiError) return "";
  if (error instanceof PromqlParseError) return "bad_data: ";
  if (error instanceof QueryExecutionError) return "execution: ";
  if (error instanceof QueryTimeoutError) return "timeout: ";
  if (error instanceof QueryCanceledError) return "canceled: ";
  return null;
}

export const toolsQueryInstant = defineCommand({
  name: "tools query instant",
  summary: "run an instant query against a server or a data directory",
  positional: "[SERVER] EXPR",
  flags: {
    ...common,
    ...engineFlags,
    time: flag.string("Evaluation time, RFC 3339 or Unix seconds.", { default: "" }),
  },
  run: (config, env) => {
    const target = targetOf(config, env, ["EXPR"]);
    const [expr = ""] = target.rest;
    const time = parseTime("time", config.time, Date.now());
    return print(env, async () => {
      const answer =
        target.kind === "server"
          ? await target.api.query(
              "query",
              new URLSearchParams({ query: expr, time: seconds(time) }),
            )
          : shown(await engineOf(config).instant(target.data, expr, time), env);
      return formatAnswer(answer, config.format);
    });
  },
});

export const toolsQueryRange = defineCommand({
  name: "tools query range",
  summary: "run a range query against a server or a data directory",
  positional: "[SERVER] EXPR",
  flags: {
    ...common,
    ...engineFlags,
    start: flag.string("First time, RFC 3339 or Unix seconds.", { default: "" }),
    end: flag.string("Last time, RFC 3339 or Unix seconds.", { default: "" }),
    step: flag.string("Step, a duration or seconds.", { default: "" }),
  },
  run: (config, env) => {
    const target = targetOf(config, env, ["EXPR"]);
    const [expr = ""] = target.rest;
    const end = parseTime("end", config.end, Date.now());
    const start = parseTime("start", config.start, end - 300_000);
    if (start > end) throw new UsageError("start time is not before end time");
    const step = stepMs(config.step, end - start);
    return print(env, async () => {
      if (target.kind === "directory") {
        return formatAnswer(
          shown(await engineOf(config).range(target.data, expr, start, end, step), env),
          config.format,
        );
      }
      const form = new URLSearchParams({
        query: expr,
        start: seconds(start),
        end: seconds(end),
        step: seconds(step),
      });
      return formatAnswer(await target.api.query("query_range", form), config.format);
    });
  },
});

/** A 250th of the range in whole seconds, at least one, where none is given. */
function stepMs(text: string, rangeMs: number): number {
  if (text === "") return Math.max(1, Math.floor(rangeMs / 250_000)) * 1000;
  const ms = /^\d+(\.\d+)?$/.test(text) ? Math.round(Number(text) * 1000) : parseDuration(text);
  if (ms <= 0) throw new UsageError(`--step ${text}: must be more than 0`);
  return ms;
}

const timeRange = {
  match: flag.strings("Series selector; of several, one has to match."),
  start: flag.string("First time, RFC 3339 or Unix seconds.", { default: "" }),
  end: flag.string("Last time, RFC 3339 or Unix seconds.", { default: "" }),
};

type TimeRangeConfig = { match: readonly string[]; start: string; end: string };

function rangeOf({ match, start, end }: TimeRangeConfig) {
  const mint = parseTime("start", start, Date.now() - DEFAULT_PAST_MS);
  const maxt = parseTime("end", end, Date.now());
  const form = new URLSearchParams({ start: seconds(mint), end: seconds(maxt) });
  for (const text of match) form.append("match[]", text);
  return { mint, maxt, form };
}

function selectOf(matchers: readonly Matcher[], mint: number, maxt: number) {
  const { signal } = new AbortController();
  return { mint, maxt, matchers, limit: 0, signal, onWarning: () => undefined };
}

export const toolsQuerySeries = defineCommand({
  name: "tools query series",
  summary: "list series of a server or a data directory",
  positional: "[SERVER]",
  flags: { ...common, ...timeRange },
  run: (config, env) => {
    const target = targetOf(config, env, []);
    if (config.match.length === 0) throw new UsageError("name a selector with --match");
    const { mint, maxt, form } = rangeOf(config);
    return print(env, async () => {
      if (target.kind === "server")
        return formatSeries(await target.api.series(form), config.format);
      const found = new Map<string, Labels>();
      for (const text of config.match) {
        const hints = { stepMs: 0, rangeMs: 0, func: "series", grouping: [], by: false };
        const select = selectOf(parseMetricSelector(text), mint, maxt);
        for await (const batch of target.data.select({ ...select, skipChunks: true, hints })) {
          for (const { labels } of batch) found.set(labels.join("\u0000"), labels);
        }
      }
      return formatSeries([...found.values()].sort(compareLabels), config.format);
    });
  },
});

export const toolsQueryLabels = defineCommand({
  name: "tools query labels",
  summary: "list the values of a label of a server or a data directory",
  positional: "[SERVER] NAME",
  flags: { ...common, ...timeRange },
  run: (config, env) => {
    const target = targetOf(config, env, ["NAME"]);
    const [name = ""] = target.rest;
    const { mint, maxt, form } = rangeOf(config);
    return print(env, async () => {
      if (target.kind === "server") {
        return formatNames(await target.api.labelValues(name, form), config.format);
      }
      const lists = config.match.length === 0 ? [[]] : config.match.map(parseMetricSelector);
      const found = new Set<string>();
      for (const matchers of lists) {
        const values = await target.data.labelValues(name, selectOf(matchers, mint, maxt));
        for (const value of values) found.add(value);
      }
      return formatNames([...found].sort(compareStrings), config.format);
    });
  },
});
