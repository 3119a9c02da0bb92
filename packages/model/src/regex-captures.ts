/**
 * RE2 expressions, anchored at both ends, with what their groups matched put into templates as Go's regexp does it:
 * `$1`, `${1}`, `$name`, `$$`. A group that is not there is the empty string.
 */

import { RE2JS } from "re2js";
import { Matcher } from "./matcher.ts";

export type Expand = (template: Template) => string;

/** A template in parts: text, or the number of a group; -1 for one that is not there. */
export type Template = readonly (string | number)[];

export type RegexCaptures = {
  readonly pattern: string;
  matches: (value: string) => boolean;
  /** What the groups matched, the whole first; null when the value does not match. */
  groups: (value: string) => readonly string[] | null;
  template: (text: string) => Template;
};

/** @throws {MatcherRegexError} when it is no valid RE2 expression. */
export function compileAnchored(pattern: string): RegexCaptures {
  const matcher = new Matcher("=~", "", pattern);
  let compiled: RE2JS | undefined;
  const regex = () => {
    compiled ??= RE2JS.compile(`^(?s:${pattern})$`);
    return compiled;
  };
  const groups = (value: string): readonly string[] | null => {
    if (!matcher.matches(value)) return null;
    // The expression that most rules leave as it is.
    if (pattern === "(.*)") return [value, value];
    const found = regex().matcher(value);
    if (!found.matches()) return null;
    return Array.from({ length: found.groupCount() + 1 }, (_, i) => found.group(i) ?? "");
  };
  const template = (text: string): Template => {
    if (!text.includes("$")) return [text];
    const names: Readonly<Record<string, number>> = pattern === "(.*)" ? {} : regex().namedGroups();
    return parseTemplate(text, names);
  };
  return { pattern, matches: (value) => matcher.matches(value), groups, template };
}

export function expandTemplate(template: Template, groups: readonly string[]): string {
  let out = "";
  for (const part of template) out += typeof part === "string" ? part : (groups[part] ?? "");
  return out;
}

const REFERENCE = /\$(?:(\$)|\{([\p{L}\p{Nd}_]+)\}|([\p{L}\p{Nd}_]+))/gu;

function parseTemplate(text: string, names: Readonly<Record<string, number>>): Template {
  const parts: (string | number)[] = [];
  let at = 0;
  for (const match of text.matchAll(REFERENCE)) {
    const [whole, dollar, braced, plain] = match;
    if (match.index > at) parts.push(text.slice(at, match.index));
    at = match.index + whole.length;
    const name = braced ?? plain ?? "";
    if (dollar !== undefined) parts.push("$");
    else if (/^(?:0|[1-9]\d{0,8})$/.test(name)) parts.push(Number(name));
    else parts.push(Object.hasOwn(names, name) ? (names[name] ?? -1) : -1);
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}
