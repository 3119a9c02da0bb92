/** label_replace and label_join. */

import { type Labels, labelValue } from "@torus/model";
import { RE2JS } from "re2js";
import { withLabel } from "../column.ts";
import { isLabelName } from "../parse/quote.ts";
import { QueryExecutionError } from "../query-errors.ts";

/** @throws {QueryExecutionError} for a bad expression or label name. */
export function replaceLabel(
  name: "label_replace" | "label_join",
  texts: readonly string[],
): (labels: Labels) => Labels {
  const [target = "", second = "", third = "", fourth = ""] = texts;
  if (!isLabelName(target)) {
    throw new QueryExecutionError(`invalid destination label name in ${name}(): ${target}`);
  }
  if (name === "label_join") {
    const sources = texts.slice(2);
    return (labels) =>
      withLabel(labels, target, sources.map((source) => labelValue(labels, source)).join(second));
  }
  let regex: RE2JS;
  try {
    regex = RE2JS.compile(`^(?s:${fourth})$`);
  } catch {
    throw new QueryExecutionError(`invalid regular expression in label_replace(): ${fourth}`);
  }
  return (labels) => {
    const matcher = regex.matcher(labelValue(labels, third));
    if (!matcher.find()) return labels;
    return withLabel(
      labels,
      target,
      expand(second, (group) => groupOf(matcher, group)),
    );
  };
}

type GroupReader = { group(group: number | string): string | null; groupCount(): number };

function groupOf(matcher: GroupReader, group: string): string {
  if (/^\d+$/.test(group)) {
    return Number(group) > matcher.groupCount() ? "" : (matcher.group(Number(group)) ?? "");
  }
  try {
    return matcher.group(group) ?? "";
  } catch {
    return "";
  }
}

/** Go's Regexp.Expand: `$1`, `$name`, `${name}`, `$$`; the longest name counts. */
function expand(template: string, value: (group: string) => string): string {
  return template.replace(/\$(?:\$|\{(\w+)\}|(\w+))/g, (whole, braces?: string, plain?: string) =>
    whole === "$$" ? "$" : value((braces ?? plain) as string),
  );
}
