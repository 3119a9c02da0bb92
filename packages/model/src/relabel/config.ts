/**
 * Relabelling rules as Prometheus' `relabel_config` writes them (Prometheus, docs/configuration/configuration.md):
 *
 *     - source_labels: [job, instance]
 *       regex: (.*);(.*)
 *       target_label: where
 *       replacement: $1 at $2
 *       action: replace
 *
 * with the same defaults, the same checks and the same words for what is wrong.
 */

import { isMap, isScalar, isSeq, LineCounter, parseDocument, type YAMLMap } from "yaml";
import { compileAnchored, type RegexCaptures } from "../regex-captures.ts";

export const RELABEL_ACTIONS = [
  "replace",
  "keep",
  "drop",
  "keepequal",
  "dropequal",
  "hashmod",
  "labelmap",
  "labeldrop",
  "labelkeep",
  "lowercase",
  "uppercase",
] as const;
export type RelabelAction = (typeof RELABEL_ACTIONS)[number];

/** Which names a label may have: any in UTF-8, or those of before. */
export type LabelNameScheme = "utf8" | "legacy";

export type RelabelRule = {
  action: RelabelAction;
  sourceLabels: readonly string[];
  separator: string;
  regex: RegexCaptures;
  /** 0 when it is not given. */
  modulus: bigint;
  targetLabel: string;
  replacement: string;
  scheme: LabelNameScheme;
};

export class RelabelConfigError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "RelabelConfigError";
  }
}

export const DEFAULT_REGEX = "(.*)";
const DEFAULT_SEPARATOR = ";";
const DEFAULT_REPLACEMENT = "$1";

const KEYS = [
  "source_labels",
  "separator",
  "regex",
  "modulus",
  "target_label",
  "replacement",
  "action",
];

/** @throws {RelabelConfigError} */
export function parseRelabelConfigs(text: string, scheme: LabelNameScheme): RelabelRule[] {
  const lines = new LineCounter();
  // Every scalar as it is written: 5 is a replacement, and 2^64-1 a modulus.
  const document = parseDocument(text, { schema: "failsafe", lineCounter: lines });
  const [error] = document.errors;
  if (error !== undefined) throw new RelabelConfigError(error.message, { cause: error });
  const { contents } = document;
  if (contents === null || (isScalar(contents) && isNull(contents))) return [];
  if (!isSeq(contents)) throw new RelabelConfigError("relabel configuration is not a list");
  return contents.items.map((item) => {
    if (!isMap(item)) throw new RelabelConfigError("relabel configuration is not a mapping");
    return readRule(item, lines, scheme);
  });
}

function readRule(item: YAMLMap, lines: LineCounter, scheme: LabelNameScheme): RelabelRule {
  const given = new Map<string, string | readonly string[]>();
  for (const { key, value } of item.items) {
    const name = isScalar(key) ? String(key.value) : "";
    if (!KEYS.includes(name)) {
      const line = isScalar(key) ? lines.linePos(key.range?.[0] ?? 0).line : 0;
      throw new RelabelConfigError(
        `yaml: unmarshal errors:\n  line ${line}: field ${name} not found in type relabel.plain`,
      );
    }
    if (isScalar(value)) {
      // Where nothing stands, an expression is the default one and a text is empty.
      if (!isNull(value)) given.set(name, String(value.value));
      else if (name !== "regex" && name !== "modulus") given.set(name, "");
    } else if (isSeq(value) && value.items.every((each) => isScalar(each))) {
      given.set(
        name,
        value.items.map((each) => String(each.value)),
      );
    } else throw new RelabelConfigError(`relabel configuration: ${name} is of a wrong kind`);
  }
  const text = (name: string, fallback: string): string => {
    const value = given.get(name) ?? fallback;
    if (typeof value === "string") return value;
    throw new RelabelConfigError(`relabel configuration: ${name} is a list`);
  };
  const sources = given.get("source_labels");
  if (typeof sources === "string") {
    throw new RelabelConfigError("relabel configuration: source_labels is not a list");
  }
  const written = text("action", "replace");
  const action = RELABEL_ACTIONS.find((each) => each === written.toLowerCase());
  if (action === undefined) {
    throw new RelabelConfigError(`unknown relabel action ${JSON.stringify(written)}`);
  }
  const modulus = text("modulus", "0");
  if (!/^\d{1,20}$/.test(modulus) || BigInt(modulus) >= 2n ** 64n) {
    throw new RelabelConfigError(`relabel configuration: modulus ${modulus} is no uint64`);
  }
  const rule: RelabelRule = {
    action,
    sourceLabels: sources ?? [],
    separator: text("separator", DEFAULT_SEPARATOR),
    regex: compileAnchored(text("regex", DEFAULT_REGEX)),
    modulus: BigInt(modulus),
    targetLabel: text("target_label", ""),
    replacement: text("replacement", DEFAULT_REPLACEMENT),
    scheme,
  };
  check(rule);
  return rule;
}

function isNull({ type, source }: { type?: string; source?: string }): boolean {
  return type === "PLAIN" && /^(?:~|null|Null|NULL|)$/.test(source ?? "");
}

/** @throws {RelabelConfigError} */
function check(rule: RelabelRule): void {
  const { action, targetLabel, replacement, modulus, scheme } = rule;
  const is = (...actions: RelabelAction[]) => actions.includes(action);
  const fail = (message: string): never => {
    throw new RelabelConfigError(message);
  };
  const invalid = (what: string, value: string) =>
    fail(`${JSON.stringify(value)} is invalid '${what}' for ${action} action`);
  if (action === "hashmod" && modulus === 0n) {
    fail("relabel configuration for hashmod requires non-zero modulus");
  }
  const setsTarget = is("replace", "hashmod", "lowercase", "uppercase", "keepequal", "dropequal");
  if (setsTarget && targetLabel === "") {
    fail(`relabel configuration for ${action} action requires 'target_label' value`);
  }
  if (setsTarget && !isTargetName(targetLabel, action === "replace", scheme)) {
    invalid("target_label", targetLabel);
  }
  const isDefault = replacement === DEFAULT_REPLACEMENT;
  if (is("lowercase", "uppercase", "keepequal", "dropequal") && !isDefault) {
    fail(`'replacement' can not be set for ${action} action`);
  }
  if (action === "labelmap" && !isTargetName(replacement, true, scheme)) {
    invalid("replacement", replacement);
  }
  const { regex, separator, sourceLabels } = rule;
  const hasOthers = modulus !== 0n || separator !== DEFAULT_SEPARATOR || !isDefault;
  if (is("keepequal", "dropequal") && (regex.pattern !== DEFAULT_REGEX || hasOthers)) {
    fail(
      `${action} action requires only 'source_labels' and \`target_label\`, and no other fields`,
    );
  }
  const hasLabels = sourceLabels.length > 0 || targetLabel !== "";
  if (is("labeldrop", "labelkeep") && (hasLabels || hasOthers)) {
    fail(`${action} action requires only 'regex', and no other fields`);
  }
}

/** A name, or with `mayExpand` also one that is made of what an expression matched. */
function isTargetName(text: string, mayExpand: boolean, scheme: LabelNameScheme): boolean {
  if (!mayExpand || !text.includes("$")) return isLabelName(text, scheme);
  if (scheme === "utf8") return true;
  return /^(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+$/.test(text.slice(0, 1000));
}

export function isLabelName(text: string, scheme: LabelNameScheme): boolean {
  if (scheme === "legacy") return /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(text);
  return text !== "" && !/\p{Surrogate}/u.test(text);
}
