/** Runs relabelling rules over label sets, as Prometheus' relabelling does. */

import { createHash } from "node:crypto";
import { compareStrings, type Labels } from "../labels.ts";
import { expandTemplate, type Template } from "../regex-captures.ts";
import { isLabelName, type RelabelRule } from "./config.ts";
import { lowerCase, upperCase } from "./letter-case.ts";

/** The labels that the rules make of these, the same array when nothing changed; null when the series is dropped. */
export type Relabel = (labels: Labels) => Labels | null;

export function relabelWith(rules: readonly RelabelRule[]): Relabel {
  const steps = rules.map(stepOf);
  return (labels) => {
    const builder = new Builder(labels);
    for (const step of steps) if (!step(builder)) return null;
    return builder.labels;
  };
}

/** False when the series is dropped. */
type Step = (labels: Builder) => boolean;

function stepOf(rule: RelabelRule): Step {
  const { action, regex, targetLabel } = rule;
  const value = sourceValue(rule);
  switch (action) {
    case "keep":
      return (labels) => regex.matches(value(labels));
    case "drop":
      return (labels) => !regex.matches(value(labels));
    case "keepequal":
      return (labels) => labels.get(targetLabel) === value(labels);
    case "dropequal":
      return (labels) => labels.get(targetLabel) !== value(labels);
    case "replace":
      return replaceStep(rule, value);
    case "lowercase":
      return always((labels) => labels.set(targetLabel, lowerCase(value(labels))));
    case "uppercase":
      return always((labels) => labels.set(targetLabel, upperCase(value(labels))));
    case "hashmod":
      return always((labels) => labels.set(targetLabel, hashMod(value(labels), rule.modulus)));
    case "labelmap":
      return labelMapStep(rule);
    case "labeldrop":
      return always((labels) => labels.removeNames((name) => regex.matches(name)));
    case "labelkeep":
      return always((labels) => labels.removeNames((name) => !regex.matches(name)));
  }
}

function always(run: (labels: Builder) => void): Step {
  return (labels) => {
    run(labels);
    return true;
  };
}

function sourceValue({ sourceLabels, separator }: RelabelRule): (labels: Builder) => string {
  const [first = ""] = sourceLabels;
  if (sourceLabels.length <= 1) return (labels) => (first === "" ? "" : labels.get(first));
  return (labels) => sourceLabels.map((name) => labels.get(name)).join(separator);
}

function replaceStep(rule: RelabelRule, value: (labels: Builder) => string): Step {
  const { regex, targetLabel, replacement, scheme } = rule;
  const target: Template = regex.template(targetLabel);
  const text: Template = regex.template(replacement);
  const isFixed = target.every((part) => typeof part === "string");
  return always((labels) => {
    const groups = regex.groups(value(labels));
    if (groups === null) return;
    const name = expandTemplate(target, groups);
    if (!isFixed && !isLabelName(name, scheme)) return;
    labels.set(name, expandTemplate(text, groups));
  });
}

function labelMapStep({ regex, replacement }: RelabelRule): Step {
  const text = regex.template(replacement);
  return always((labels) => {
    const before = labels.labels;
    for (let i = 0; i < before.length; i += 2) {
      const groups = regex.groups(before[i] as string);
      if (groups !== null) labels.set(expandTemplate(text, groups), before[i + 1] as string);
    }
  });
}

/** The last eight bytes of the MD5, big-endian, modulo. */
function hashMod(value: string, modulus: bigint): string {
  const digest = createHash("md5").update(value).digest();
  return String(digest.readBigUInt64BE(8) % modulus);
}

/** Labels that are copied at the first change. */
class Builder {
  #labels: Labels;

  constructor(labels: Labels) {
    this.#labels = labels;
    // An empty value is no label.
    for (let i = 1; i < labels.length; i += 2) if (labels[i] === "") this.#dropEmpty();
  }

  /** Never changed in place. */
  get labels(): Labels {
    return this.#labels;
  }

  get(name: string): string {
    const labels = this.#labels;
    for (let i = 0; i < labels.length; i += 2)
      if (labels[i] === name) return labels[i + 1] as string;
    return "";
  }

  /** An empty value takes the label away. */
  set(name: string, value: string): void {
    const labels = this.#labels;
    let at = 0;
    while (
      at < labels.length &&
      labels[at] !== name &&
      compareStrings(labels[at] as string, name) < 0
    ) {
      at += 2;
    }
    const isThere = labels[at] === name;
    if (isThere && labels[at + 1] === value) return;
    if (value === "") {
      if (isThere) this.#labels = labels.toSpliced(at, 2);
    } else this.#labels = labels.toSpliced(at, isThere ? 2 : 0, name, value);
  }

  #dropEmpty(): void {
    this.#labels = this.#labels.filter((_, i, all) => all[i | 1] !== "");
  }

  removeNames(test: (name: string) => boolean): void {
    const labels = this.#labels;
    const out: string[] = [];
    for (let i = 0; i < labels.length; i += 2) {
      if (!test(labels[i] as string)) out.push(labels[i] as string, labels[i + 1] as string);
    }
    if (out.length < labels.length) this.#labels = out;
  }
}
