import fc from "fast-check";
import { RE2JS } from "re2js";
import { describe, expect, test } from "vitest";
import { Matcher, MatcherRegexError } from "./matcher.ts";
import { regexSequences } from "./regex-shape.ts";

describe("regular expressions", () => {
  const piece = fc.constantFrom(
    "a",
    "b",
    "ab",
    ".*",
    ".+",
    "(",
    ")",
    "(?:",
    "|",
    "\\.",
    "é",
    "\n",
    "-",
    ".",
    "?",
    "a*",
    "]",
    "💩",
  );
  const value = fc.array(fc.constantFrom("a", "b", ".", "é", "\n", "-", "]", "💩"), {
    maxLength: 6,
  });

  test("match as RE2 does, whatever way they are tested", () => {
    let fast = 0;
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 8 }),
        fc.array(value, { maxLength: 10 }),
        (pieces, values) => {
          const pattern = pieces.join("");
          let re2: RE2JS;
          try {
            re2 = RE2JS.compile(`^(?s:${pattern})$`);
          } catch {
            expect(() => new Matcher("=~", "a", pattern)).toThrow(MatcherRegexError);
            return;
          }
          const matcher = new Matcher("=~", "a", pattern);
          const not = new Matcher("!~", "a", pattern);
          if (regexSequences(pattern) !== null) fast++;
          for (const text of [
            ...values.map((parts) => parts.join("")),
            ...(matcher.setMatches ?? []),
          ]) {
            const want = re2.testExact(text);
            expect(matcher.matches(text)).toBe(want);
            expect(not.matches(text)).toBe(!want);
            if (want) expect(text.startsWith(matcher.prefix)).toBe(true);
            if (matcher.setMatches !== null) expect(matcher.setMatches.includes(text)).toBe(want);
          }
        },
      ),
      { numRuns: 3_000 },
    );
    expect(fast).toBeGreaterThan(300);
  });

  test.each<[pattern: string, set: string[] | null, prefix: string]>([
    ["foo", ["foo"], "foo"],
    ["foo|bar|foo", ["foo", "bar"], ""],
    ["foo(bar|baz)?", null, ""],
    ["foo(bar|(?:x|y)z)", ["foobar", "fooxz", "fooyz"], ""],
    ["foo.*", null, "foo"],
    ["a\\.b", ["a.b"], "a.b"],
    ["(?i)foo", null, ""],
    ["", [""], ""],
  ])("%j lists its values or names their prefix", (pattern, set, prefix) => {
    const matcher = new Matcher("=~", "a", pattern);
    expect(matcher.setMatches).toEqual(set);
    expect(matcher.prefix).toBe(prefix);
  });

  test.each([
    ["(", "error parsing regexp: missing closing ): `^(?s:()$`"],
    ["a{2000}", "error parsing regexp: invalid repeat count: `{2000}`"],
    [`[${"a".repeat(1 << 16)}]`, "error parsing regexp: expression too large"],
  ])("%.20j is refused in Go's words", (pattern, message) =>
    expect(() => new Matcher("=~", "a", pattern)).toThrow(message),
  );

  test("ten thousand nested groups are refused, not a stack overflow", () =>
    expect(() => new Matcher("=~", "a", `${"(".repeat(10_000)}a${")".repeat(10_000)}`)).toThrow(
      MatcherRegexError,
    ));
});

test("the index may look up the one value of an equality, and none of a negation", () => {
  expect(new Matcher("=", "a", "b").setMatches).toEqual(["b"]);
  expect(new Matcher("!=", "a", "b").setMatches).toBeNull();
  expect(new Matcher("!~", "a", "b|c").setMatches).toBeNull();
});
