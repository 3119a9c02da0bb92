/**
 * JSON as Go's encoding/json writes it, so that our files equal Thanos' byte for byte: tab-indented, empty
 * objects and lists on one line, and <, >, & and the two Unicode line separators escaped inside strings.
 */

const ESCAPES: Record<string, string> = {
  "<": "\\u003c",
  ">": "\\u003e",
  "&": "\\u0026",
  "\u2028": "\\u2028",
  "\u2029": "\\u2029",
};

/** Keys stand in the object's own order; undefined values are left out. */
export function goJson(value: unknown, indent: "" | "\t"): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[<>&\u2028\u2029]/g,
    (character) => ESCAPES[character] as string,
  );
}
