import { existsSync, readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PromqlParseError } from "./parse/parse-error.ts";
import { ALL_FEATURES, parseExpr, parseMetricSelector } from "./parse.ts";

function messageOf(text: string): string {
  try {
    parseExpr(text);
    return "parses";
  } catch (error) {
    expect(error).toBeInstanceOf(PromqlParseError);
    return (error as PromqlParseError).message;
  }
}

describe("errors", () => {
  test.each([
    ["", "unknown position: parse error: no expression found in input"],
    [" ", "1:1: parse error: no expression found in input"],
    ["up{", "1:4: parse error: unexpected end of input inside braces"],
    ["(1))", "1:5: parse error: unexpected right parenthesis ')'"],
    ["1+", "1:3: parse error: unexpected end of input"],
    ["a -\n on(b) ignoring(c) d", "2:8: parse error: unexpected <ignoring>"],
    ['"é" bar', '1:6: parse error: unexpected identifier "bar"'],
    [
      "rate(up)",
      '1:6: parse error: expected type range vector in call to function "rate", got instant vector',
    ],
    ["foo{a=b}", '1:7: parse error: unexpected identifier "b" in label matching, expected string'],
    ["1==1", "1:2: parse error: comparisons between scalars must use BOOL modifier"],
    ["foo and 1", '1:1: parse error: set operator "and" not allowed in binary scalar expression'],
    ["0deadbeef", '1:1: parse error: bad number or duration syntax: "0de"'],
    ["nosuch(1)", '1:1: parse error: unknown function with name "nosuch"'],
    ["{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"],
    [
      "limitk(1, up)",
      "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
    ],
    ["up @ inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"],
  ])("%j", (text, message) => expect(messageOf(text)).toBe(message));

  test.each([
    ["parentheses", "(".repeat(10_000)],
    ["signs", `${"-".repeat(10_000)}1`],
    ["operators", `1${"+1".repeat(10_000)}`],
  ])("ten thousand nested %s are refused with a clear error", (_, text) =>
    expect(messageOf(text)).toMatch(/nested more than 1000 levels deep/),
  );

  test("any text either parses or is a PromqlParseError", () => {
    const piece = fc.constantFrom(
      ...'up sum by ( ) { } [ ] , : @ offset 5m -1 0x1f "a" \' ` = =~ != and on bool + ^ # \n start step() é'.split(
        " ",
      ),
    );
    fc.assert(
      fc.property(fc.array(piece), (pieces) => {
        expect(messageOf(pieces.join(" "))).toMatch(/^parses$|parse error: /);
      }),
      { numRuns: 2_000 },
    );
  });
});

test("a selector gives its matchers, the name as a matcher like the others", () => {
  expect(parseMetricSelector('up{job=~"a|b"}').map(String)).toEqual([
    'job=~"a|b"',
    '__name__="up"',
  ]);
  expect(() => parseMetricSelector("up[5m]")).toThrow(PromqlParseError);
});

const cases = new URL("../../../../shared/promqltest/", import.meta.url);
test.skipIf(!existsSync(cases))("every query of the script tests parses", () => {
  let count = 0;
  for (const file of readdirSync(cases).filter((name) => name.endsWith(".test"))) {
    for (const line of readFileSync(new URL(file, cases), "utf8").split("\n")) {
      const query = /^eval\S*\s+(?:instant at \S+|range from \S+ to \S+ step \S+)\s+(.*)$/.exec(
        line.trim(),
      )?.[1];
      if (query === undefined) continue;
      count++;
      parseExpr(query, { enabledFeatures: ALL_FEATURES });
    }
  }
  expect(count).toBeGreaterThan(1_300);
});
