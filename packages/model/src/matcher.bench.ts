import { bench, describe } from "vitest";
import { Matcher } from "./matcher.ts";

const values = Array.from({ length: 100_000 }, (_, i) => `pod-${i % 977}-${i.toString(36)}`);

describe("100,000 values", () => {
  for (const pattern of [
    "pod-7-7",
    "pod-7-7|pod-9-a|pod-1-b",
    "pod-7.*",
    ".*-7",
    ".*7-7.*",
    "pod-[0-9]+-a.*",
    "(?i)POD-7.*",
  ]) {
    const matcher = new Matcher("=~", "pod", pattern);
    bench(pattern, () => {
      let hits = 0;
      for (const value of values) if (matcher.matches(value)) hits++;
      if (hits === 0) throw new Error("nothing matches");
    });
  }
});
