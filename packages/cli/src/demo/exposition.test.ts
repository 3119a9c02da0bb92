import { expect, test } from "vitest";
import { ExpositionError, parseExposition } from "./exposition.ts";

test("names, labels, escapes, special values and timestamps are read", () => {
  const text = `# HELP a b
# TYPE a counter
a 1
a{} 2 1700000000000
b{z="1", a="x\\"y\\\\n\\nz",} +Inf
c:d{le="0.5"} 1.5e-3

e NaN
f -Inf
`;
  expect(parseExposition(text)).toStrictEqual([
    { labels: ["__name__", "a"], value: 1, timestamp: undefined },
    { labels: ["__name__", "a"], value: 2, timestamp: 1_700_000_000_000 },
    {
      labels: ["__name__", "b", "a", 'x"y\\n\nz', "z", "1"],
      value: Number.POSITIVE_INFINITY,
      timestamp: undefined,
    },
    { labels: ["__name__", "c:d", "le", "0.5"], value: 0.0015, timestamp: undefined },
    { labels: ["__name__", "e"], value: Number.NaN, timestamp: undefined },
    { labels: ["__name__", "f"], value: Number.NEGATIVE_INFINITY, timestamp: undefined },
  ]);
});

test.each(['a{b="c"', "a", "{} 1", "a{b=c} 1", "a 0x10", 'a{b="c} 1', "9a 1"])(
  "%s is refused with its line",
  (line) => {
    expect(() => parseExposition(`ok 1\n${line}\n`)).toThrow(ExpositionError);
    expect(() => parseExposition(`ok 1\n${line}\n`)).toThrow(/^line 2: /);
  },
);
