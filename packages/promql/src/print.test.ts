import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ALL_FEATURES, parseExpr } from "./parse.ts";
import { formatExpr } from "./print.ts";

const options = { enabledFeatures: ALL_FEATURES };

test.each([
  ["sum(up)by(job)", "sum by (job) (up)"],
  ["sum without() (up)", "sum without () (up)"],
  ["up{job='a',x!~\"b\"}[300s]@10 offset -1m", 'up{job="a",x!~"b"}[5m] @ 10.000 offset -1m'],
  ["a+on(x)group_left b", "a + on (x) group_left () b"],
  ["a + fill(0) b", "a + fill (0) b"],
  ["rate(up[90m] anchored)", "rate(up[1h30m] anchored)"],
  ['{"my.name","a.b"="c"}', '{__name__="my.name","a.b"="c"}'],
  [
    "count_values by (x) ('a', -up ^ 2 > bool 1e3)",
    'count_values by (x) ("a", -up ^ 2 > bool 1000)',
  ],
  ["sum_over_time(up[step()*2:])", "sum_over_time(up[step() * 2:])"],
  ["1e-7", "0.0000001"],
])("%s is printed as %s", (text, printed) => {
  expect(formatExpr(parseExpr(text, options))).toBe(printed);
});

const cases = new URL("../../../../shared/promqltest/", import.meta.url);
test.skipIf(!existsSync(cases))("what is printed parses, and prints the same again", () => {
  let count = 0;
  for (const file of readdirSync(cases).filter((name) => name.endsWith(".test"))) {
    for (const line of readFileSync(new URL(file, cases), "utf8").split("\n")) {
      const query = /^eval\S*\s+(?:instant at \S+|range from \S+ to \S+ step \S+)\s+(.*)$/.exec(
        line.trim(),
      )?.[1];
      if (query === undefined) continue;
      count++;
      const printed = formatExpr(parseExpr(query, options));
      expect(formatExpr(parseExpr(printed, options))).toBe(printed);
    }
  }
  expect(count).toBeGreaterThan(1_300);
});
