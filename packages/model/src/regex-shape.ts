/**
 * The expressions that need no automaton: literals, `.*` and `.+`, joined by alternation and groups without
 * repetition. `foo|bar`, `foo(bar|baz)`, `foo.*`, `.*foo.*`, `.+` are most of what dashboards ask.
 */

/** A number is a gap of at least that many characters: 0 for `.*`, 1 for `.+`. Literals and gaps take turns. */
export type Sequence = readonly (string | 0 | 1)[];

/** More alternatives than this with gaps are left to RE2, more literals without are not plausible. */
const MAX_GAPPED = 64;
const MAX_LITERALS = 100_000;
const MAX_NESTING = 50;

/** The alternatives that `pattern` stands for, or null when it needs RE2 (also when it is wrong: RE2 says how). */
export function regexSequences(pattern: string): readonly Sequence[] | null {
  if (/\p{Surrogate}/u.test(pattern)) return null;
  const reader = { pattern, at: 0, nesting: 0 };
  const sequences = alternatives(reader);
  if (sequences === null || reader.at < pattern.length) return null;
  const gapped = sequences.filter((sequence) => sequence.some((part) => typeof part === "number"));
  return gapped.length > MAX_GAPPED ? null : sequences;
}

type Reader = { readonly pattern: string; at: number; nesting: number };

function alternatives(reader: Reader): Sequence[] | null {
  const out: Sequence[] = [];
  for (;;) {
    const sequences = concatenation(reader);
    if (sequences === null || out.length + sequences.length > MAX_LITERALS) return null;
    for (const sequence of sequences) out.push(sequence);
    if (reader.pattern[reader.at] !== "|") return out;
    reader.at++;
  }
}

function concatenation(reader: Reader): Sequence[] | null {
  const { pattern } = reader;
  let out: Sequence[] = [[]];
  while (reader.at < pattern.length) {
    const c = pattern[reader.at];
    if (c === "|" || c === ")") break;
    const next = c === "(" ? group(reader) : atom(reader);
    if (next === null || out.length * next.length > MAX_LITERALS) return null;
    const joined: Sequence[] = [];
    for (const left of out) {
      for (const right of next) {
        const sequence = join(left, right);
        if (sequence === null) return null;
        joined.push(sequence);
      }
    }
    out = joined;
  }
  return out;
}

function group(reader: Reader): Sequence[] | null {
  const { pattern } = reader;
  if (pattern[reader.at + 1] === "?" && pattern[reader.at + 2] !== ":") return null;
  if (++reader.nesting > MAX_NESTING) return null;
  reader.at += pattern[reader.at + 1] === "?" ? 3 : 1;
  const inner = alternatives(reader);
  if (inner === null || pattern[reader.at] !== ")") return null;
  reader.at++;
  reader.nesting--;
  return isRepeated(reader) ? null : inner;
}

/** A run of literal characters, or one gap. */
function atom(reader: Reader): Sequence[] | null {
  const { pattern } = reader;
  if (pattern[reader.at] === ".") {
    const repeat = pattern[reader.at + 1];
    if (repeat !== "*" && repeat !== "+") return null;
    reader.at += 2;
    return isRepeated(reader) ? null : [[repeat === "*" ? 0 : 1]];
  }
  let literal = "";
  while (reader.at < pattern.length) {
    const c = pattern[reader.at] as string;
    if (c === "\\") {
      const escaped = pattern[reader.at + 1] ?? "";
      // Letters and digits behind a backslash are classes, and other alphabets have none.
      if (!/^[!-/:-@[-`{-~]$/.test(escaped)) return null;
      literal += escaped;
      reader.at += 2;
    } else if (c === "." || c === "(" || c === ")" || c === "|") break;
    else if ("[^$*+?{".includes(c)) return null;
    else {
      literal += c;
      reader.at++;
    }
  }
  return [[literal]];
}

function isRepeated(reader: Reader): boolean {
  return "*+?{".includes(reader.pattern[reader.at] ?? " ");
}

function join(left: Sequence, right: Sequence): Sequence | null {
  const last = left.at(-1);
  const first = right[0];
  if (last === undefined || first === undefined) return [...left, ...right];
  if (typeof last === "string" && typeof first === "string") {
    return [...left.slice(0, -1), last + first, ...right.slice(1)];
  }
  if (typeof last === "number" && typeof first === "number") {
    // Two characters at least is no longer a matter of UTF-16 units.
    if (last + first > 1) return null;
    return [...left.slice(0, -1), (last + first) as 0 | 1, ...right.slice(1)];
  }
  return [...left, ...right];
}

/** The whole of a sequence without gaps, else null. */
export function literalOf(sequence: Sequence): string | null {
  if (sequence.length === 0) return "";
  const [first] = sequence;
  return sequence.length === 1 && typeof first === "string" ? first : null;
}

/** A test of whole values against a sequence with a gap; linear in the value for each literal. */
export function sequenceTest(sequence: Sequence): (value: string) => boolean {
  const parts: { literal: string; gap: 0 | 1 }[] = [];
  let gap: 0 | 1 = 0;
  for (const part of sequence.slice(typeof sequence[0] === "string" ? 1 : 0)) {
    if (typeof part === "number") gap = part;
    else {
      parts.push({ literal: part, gap });
      gap = 0;
    }
  }
  const prefix = typeof sequence[0] === "string" ? sequence[0] : "";
  const openEnd = typeof sequence.at(-1) === "number";
  const lastGap = openEnd ? (sequence.at(-1) as 0 | 1) : 0;
  const suffix = openEnd ? undefined : parts.pop();
  return (value) => {
    if (!value.startsWith(prefix)) return false;
    let at = prefix.length;
    for (const part of parts) {
      const found = value.indexOf(part.literal, at + part.gap);
      if (found < 0) return false;
      at = found + part.literal.length;
    }
    if (suffix === undefined) return value.length >= at + lastGap;
    return (
      value.length - suffix.literal.length >= at + suffix.gap && value.endsWith(suffix.literal)
    );
  };
}
