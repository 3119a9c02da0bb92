/** Relabelling by the kind of rule, over the labels of a scraped target. */

import { bench, describe } from "vitest";
import type { Labels } from "../labels.ts";
import { parseRelabelConfigs } from "./config.ts";
import { relabelWith } from "./relabel.ts";

const SERIES: Labels[] = Array.from({ length: 1000 }, (_, i) => [
  "__name__",
  `node_cpu_seconds_${i % 100}_total`,
  "cluster",
  "eu-1",
  "cpu",
  String(i % 64),
  "instance",
  `host-${i % 50}:9100`,
  "job",
  "node",
  "mode",
  "idle",
]);

const RULES: Record<string, string> = {
  "no rule": "[]",
  "drop by name": "[{source_labels: [__name__], regex: 'go_.*|process_.*', action: drop}]",
  "replace with a capture":
    "[{source_labels: [instance], regex: '([^:]+):(\\d+)', target_label: host, replacement: '$1'}]",
  labeldrop: "[{regex: 'replica|prometheus', action: labeldrop}]",
  "a constant label": "[{target_label: region, replacement: eu}]",
};

for (const [name, yaml] of Object.entries(RULES)) {
  const relabel = relabelWith(parseRelabelConfigs(yaml, "utf8"));
  describe("1,000 series", () => {
    let kept = 0;
    bench(name, () => {
      for (const labels of SERIES) if (relabel(labels) !== null) kept++;
    });
    if (kept < 0) throw new Error("unused");
  });
}
