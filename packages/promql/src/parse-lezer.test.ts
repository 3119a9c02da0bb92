/** The parser against another of the same language, the one of Prometheus' web interface. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { parser } from "@prometheus-io/lezer-promql";
import { expect, test } from "vitest";
import { PromqlParseError } from "./parse/parse-error.ts";
import { ALL_FEATURES, parseExpr } from "./parse.ts";

/** What the other parser does not know yet, and why it is right here. */
const lags: readonly [reason: string, pattern: RegExp][] = [
  [
    "functions and durations named min_of, max_of, step, range",
    /(min_of|max_of|step|range|start|end)\s*\(/i,
  ],
  ["numbers that end in a point", /[0-9]\.(?![0-9])/],
];

function hasError(query: string): boolean {
  let wrong = false;
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) wrong = true;
    },
  });
  return wrong;
}

const shared = new URL("../../../../shared/promqltest/", import.meta.url);
const own = new URL("./testdata/", import.meta.url);

/** Queries of the script tests in a folder that parse here and not there. */
function disagreements(folder: URL): { count: number; disagree: string[] } {
  const disagree: string[] = [];
  let count = 0;
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".test"))) {
    for (const line of readFileSync(new URL(file, folder), "utf8").split("\n")) {
      const query = /^eval\S*\s+(?:instant at \S+|range from \S+ to \S+ step \S+)\s+(.*)$/.exec(
        line.trim(),
      )?.[1];
      if (query === undefined) continue;
      try {
        parseExpr(query, { enabledFeatures: ALL_FEATURES });
      } catch (error) {
        if (error instanceof PromqlParseError) continue;
        throw error;
      }
      count++;
      if (hasError(query) && !lags.some(([, pattern]) => pattern.test(query))) disagree.push(query);
    }
  }
  return { count, disagree };
}

test("what parses here parses there, but for what it lags behind in", () => {
  const { count, disagree } = disagreements(own);
  expect(disagree).toEqual([]);
  expect(count).toBeGreaterThan(150);
});

test.skipIf(!existsSync(shared))("so do the queries of the script tests beside us", () => {
  const { count, disagree } = disagreements(shared);
  expect(disagree).toEqual([]);
  expect(count).toBeGreaterThan(1200);
});
