import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { labelsFromPairs } from "../labels.ts";
import { type LabelNameScheme, parseRelabelConfigs } from "./config.ts";
import { relabelWith } from "./relabel.ts";

type Pairs = [name: string, value: string][];
type Case = {
  name: string;
  scheme: LabelNameScheme;
  yaml: string;
  error?: string;
  tests?: { in: Pairs; keep: boolean; out: Pairs }[];
};
const golden = JSON.parse(
  readFileSync(path.join(import.meta.dirname, "../../../../test/golden/relabel.json"), "utf8"),
) as { cases: Case[] };

describe("Prometheus' own answer", () => {
  test.each(golden.cases.filter(({ error }) => error === undefined))("$name", (each) => {
    const relabel = relabelWith(parseRelabelConfigs(each.yaml, each.scheme));
    expect(each.tests?.length).toBeGreaterThan(0);
    for (const one of each.tests ?? []) {
      const labels = relabel(one.in.flat());
      expect(labels).toStrictEqual(one.keep ? one.out.flat() : null);
    }
  });

  test.each(golden.cases.filter(({ error }) => error !== undefined))(
    "$name is refused: $error",
    ({ yaml, scheme, error }) => {
      let message = "";
      try {
        parseRelabelConfigs(yaml, scheme);
      } catch (thrown) {
        message = (thrown as Error).message;
      }
      expect(message).toBe(error);
    },
  );
});

test.each([
  ["[1]", /is not a mapping/],
  ["a: b", /is not a list/],
  ["- source_labels: job", /source_labels is not a list/],
  ["- {source_labels: [a], modulus: -1, target_label: b, action: hashmod}", /no uint64/],
  ["- [", /./],
])("%j is no list of rules", (yaml, message) => {
  expect(() => parseRelabelConfigs(yaml, "utf8")).toThrow(message);
});

test("without rules the labels are the same", () => {
  const labels = labelsFromPairs([["a", "b"]]);
  expect(relabelWith(parseRelabelConfigs("", "utf8"))(labels)).toBe(labels);
});

test("an expression that backtracking takes years for is answered at once", () => {
  const rules = parseRelabelConfigs(
    "[{source_labels: [a], regex: '((a*)*)*b(c?)', target_label: t}]",
    "utf8",
  );
  const labels = ["a", "a".repeat(5000)];
  expect(relabelWith(rules)(labels)).toBe(labels);
});
