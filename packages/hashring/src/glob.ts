/**
 * Tenant patterns in the syntax of Go's filepath.Match on Unix: `*` and `?` match no `/`, `[a-c]` and `[^a-c]` are
 * classes, `\` takes the next character as it stands. As in Go, each part between stars takes the leftmost place
 * where it fits and is not tried again further right, and a pattern with a syntax error is one whatever it is
 * matched with.
 */

export class GlobSyntaxError extends Error {
  readonly pattern: string;
  constructor(pattern: string) {
    super("syntax error in pattern");
    this.name = "GlobSyntaxError";
    this.pattern = pattern;
  }
}

type Token =
  | { kind: "literal"; char: string }
  | { kind: "any" }
  | { kind: "class"; negated: boolean; ranges: [low: number, high: number][] };

/** Tokens between stars; `star` tells whether one stands before them. */
type Part = { star: boolean; tokens: Token[] };

/** @throws {GlobSyntaxError} */
export function matchGlob(pattern: string, name: string): boolean {
  const parts = parse(pattern);
  const chars = Array.from(name);
  let at = 0;
  for (const [i, part] of parts.entries()) {
    const isLast = i === parts.length - 1;
    if (part.star && part.tokens.length === 0) return !chars.slice(at).includes("/");
    let end = matchTokens(part.tokens, chars, at);
    if (!part.star) {
      if (end < 0) return false;
      at = end;
      continue;
    }
    for (;;) {
      if (end >= 0 && (!isLast || end === chars.length)) break;
      if (at >= chars.length || chars[at] === "/") return false;
      at++;
      end = matchTokens(part.tokens, chars, at);
    }
    at = end;
  }
  return at === chars.length;
}

/** The position after the tokens when they match at `at`, or -1. */
function matchTokens(tokens: readonly Token[], chars: readonly string[], at: number): number {
  if (at + tokens.length > chars.length) return -1;
  for (const [i, token] of tokens.entries()) {
    const char = chars[at + i] as string;
    if (token.kind === "literal") {
      if (token.char !== char) return -1;
    } else if (token.kind === "any") {
      if (char === "/") return -1;
    } else {
      const code = char.codePointAt(0) as number;
      const inside = token.ranges.some(([low, high]) => low <= code && code <= high);
      if (inside === token.negated) return -1;
    }
  }
  return at + tokens.length;
}

function parse(pattern: string): Part[] {
  const chars = Array.from(pattern);
  const parts: Part[] = [{ star: false, tokens: [] }];
  let at = 0;
  /** A character inside a class. */
  const classChar = (): number => {
    let char = chars[at];
    if (char === undefined || char === "-" || char === "]") throw new GlobSyntaxError(pattern);
    if (char === "\\") char = chars[++at];
    at++;
    // The class must still be closed after it.
    if (char === undefined || at >= chars.length) throw new GlobSyntaxError(pattern);
    return char.codePointAt(0) as number;
  };
  while (at < chars.length) {
    const char = chars[at] as string;
    const part = parts.at(-1) as Part;
    at++;
    if (char === "*") {
      if (part.tokens.length > 0 || !part.star) parts.push({ star: true, tokens: [] });
    } else if (char === "?") part.tokens.push({ kind: "any" });
    else if (char === "\\") {
      const next = chars[at++];
      if (next === undefined) throw new GlobSyntaxError(pattern);
      part.tokens.push({ kind: "literal", char: next });
    } else if (char === "[") {
      const negated = chars[at] === "^";
      if (negated) at++;
      const ranges: [number, number][] = [];
      while (!(chars[at] === "]" && ranges.length > 0)) {
        const low = classChar();
        let high = low;
        if (chars[at] === "-") {
          at++;
          high = classChar();
        }
        ranges.push([low, high]);
      }
      at++;
      part.tokens.push({ kind: "class", negated, ranges });
    } else part.tokens.push({ kind: "literal", char });
  }
  return parts;
}
