/** The parser against another of the same language, the one of Prometheus' web interface. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { parser } from "@prometheus-io/lezer-promql";
import { expect, test } from "vitest";
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

const cases = new URL("../../../../shared/promqltest/", import.meta.url);
test.skipIf(!existsSync(cases))(
  "what parses here parses there, but for what it lags behind in",
  () => {
    const disagree: string[] = [];
    for (const file of readdirSync(cases).filter((name) => name.endsWith(".test"))) {
      for (const line of readFileSync(new URL(file, cases), "utf8").split("\n")) {
        const query = /^eval\S*\s+(?:instant at \S+|range from \S+ to \S+ step \S+)\s+(.*)$/.exec(
          line.trim(),
        )?.[1];
        if (query === undefined) continue;
        parseExpr(query, { enabledFeatures: ALL_FEATURES });
        if (hasError(query) && !lags.some(([, pattern]) => pattern.test(query)))
          disagree.push(query);
      }
    }
    expect(disagree).toEqual([]);
  },
);
