/** Scripts of our own, so that every function, operator and modifier is held to an answer wherever the tests run. */

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { children, type Expr } from "./ast.ts";
import { Engine } from "./engine.ts";
import { PromqlParseError } from "./parse/parse-error.ts";
import { ALL_FEATURES, parseExpr } from "./parse.ts";
import { runScript } from "./promqltest/run.ts";
import { parseScript } from "./promqltest/script.ts";
import { signatures } from "./signatures.ts";

const folder = new URL("./testdata/", import.meta.url);
const files = readdirSync(folder);
const textOf = (name: string) => readFileSync(new URL(name, folder), "utf8");

const engine = new Engine({
  timeoutMs: 60_000,
  now: () => 0,
  enabledFeatures: new Set([
    ...ALL_FEATURES,
    "promql-delayed-name-removal" as const,
    "use-start-timestamps" as const,
  ]),
});

function queriesOf(name: string): string[] {
  return parseScript(textOf(name)).flatMap((each) => (each.kind === "eval" ? [each.query] : []));
}

describe("scripts", () => {
  test.each(files)("%s passes whole", async (name) => {
    const report = await runScript(textOf(name), {
      instant: (storage, query, timeMs) => engine.instant(storage, query, timeMs),
      range: (storage, query, { startMs, endMs, stepMs }) =>
        engine.range(storage, query, startMs, endMs, stepMs),
    });
    expect(report).toEqual({ passed: queriesOf(name).length, failures: [] });
  });
});

/** Functions by name, operators and aggregations by symbol, modifiers by the word they are written with. */
function partsOf(query: string): Set<string> {
  const out = new Set<string>();
  let root: Expr;
  try {
    root = parseExpr(query, { enabledFeatures: ALL_FEATURES });
  } catch (error) {
    if (error instanceof PromqlParseError) return out;
    throw error;
  }
  const open: Expr[] = [root];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node.kind === "call") out.add(node.func.name);
    if (node.kind === "unary") out.add(`unary ${node.op}`);
    if (node.kind === "aggregation") {
      out.add(node.op);
      out.add(node.without ? "without" : "by");
    }
    if (node.kind === "binary") {
      out.add(node.op);
      if (node.returnBool) out.add("bool");
      const { matching } = node;
      if (matching !== null) {
        out.add(matching.on ? "on" : "ignoring");
        out.add(matching.card);
        if (matching.fillLeft !== null) out.add("fill_left");
        if (matching.fillRight !== null) out.add("fill_right");
      }
    }
    if (node.kind === "subquery")
      out.add(node.step === null ? "subquery without a step" : "subquery");
    if (node.kind === "vectorSelector") {
      if (node.offset !== null) out.add("offset");
      if (node.at !== null) out.add(`@ ${node.at.type}`);
      if (node.anchored) out.add("anchored");
      if (node.smoothed) out.add("smoothed");
      for (const { type } of node.matchers) out.add(type);
    }
    if (node.kind === "matrixSelector" && node.range.expr !== null) out.add("computed range");
    open.push(...children(node));
  }
  return out;
}

test("they have every function, operator, aggregation and modifier", () => {
  const found = new Set(files.flatMap(queriesOf).flatMap((query) => [...partsOf(query)]));
  const wanted = [
    ...signatures.keys(),
    ..."+ - * / % ^ atan2 == != < > <= >= and or unless </ >/".split(" "),
    ..."sum avg min max count group stddev stdvar topk bottomk quantile count_values limitk limit_ratio".split(
      " ",
    ),
    ..."by without bool on ignoring one-to-one many-to-one one-to-many many-to-many fill_left fill_right".split(
      " ",
    ),
    ..."offset anchored smoothed subquery =~ !~ =".split(" "),
    "unary -",
    "unary +",
    "subquery without a step",
    "computed range",
    "@ time",
    "@ start",
    "@ end",
  ];
  expect(wanted.filter((part) => !found.has(part))).toEqual([]);
});
