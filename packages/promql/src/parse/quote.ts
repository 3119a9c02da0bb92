/**
 * String literals of PromQL, read and written. Strings of PromQL are bytes: a byte that is no part of valid UTF-8
 * (`"a\xc5z"`) is kept as the lone surrogate U+DC00 + byte, which no valid text contains, and written back as `\xc5`.
 */

const simpleEscapes: Readonly<Record<string, string>> = {
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
  "\\": "\\",
  '"': '"',
  "'": "'",
};

/** The value of a literal with its quotes; the lexer has checked its escapes. */
export function unquote(literal: string): string {
  const body = literal.slice(1, -1);
  if (literal[0] === "`" || !body.includes("\\")) return body;
  const bytes: number[] = [];
  let out = "";
  const flush = () => {
    if (bytes.length > 0) out += decodeBytes(Uint8Array.from(bytes));
    bytes.length = 0;
  };
  for (let i = 0; i < body.length; i++) {
    if (body[i] !== "\\") {
      flush();
      out += body[i];
      continue;
    }
    const escape = body[++i] as string;
    if (escape === "x") {
      bytes.push(Number.parseInt(body.slice(i + 1, i + 3), 16));
      i += 2;
    } else if (escape >= "0" && escape <= "7") {
      bytes.push(Number.parseInt(body.slice(i, i + 3), 8));
      i += 2;
    } else {
      flush();
      const digits = escape === "u" ? 4 : escape === "U" ? 8 : 0;
      if (digits === 0) out += simpleEscapes[escape] ?? escape;
      else out += String.fromCodePoint(Number.parseInt(body.slice(i + 1, i + 1 + digits), 16));
      i += digits;
    }
  }
  flush();
  return out;
}

function decodeBytes(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Array.from(bytes, (byte) =>
      String.fromCharCode(byte < 0x80 ? byte : 0xdc00 + byte),
    ).join("");
  }
}

const namedEscapes: Readonly<Record<string, string>> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
};

/** As Go's %q writes a string. */
export function quote(text: string): string {
  return `"${escape(text, '"')}"`;
}

/** As Go's %q writes a character. */
export function quoteCharacter(character: string): string {
  return `'${escape(character, "'")}'`;
}

function escape(text: string, delimiter: string): string {
  let out = "";
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    const named = namedEscapes[character];
    if (character === delimiter) out += `\\${character}`;
    else if (named !== undefined) out += named;
    else if (code < 0x20 || code === 0x7f) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code >= 0xdc80 && code <= 0xdcff) out += `\\x${(code - 0xdc00).toString(16)}`;
    else if (code === 0xfeff || (code >= 0x80 && code < 0xa1)) {
      out += `\\u${code.toString(16).padStart(4, "0")}`;
    } else out += character;
  }
  return out;
}

/** Any text that is not empty and whose bytes were UTF-8; a byte that was not is held as a lone surrogate. */
export function isLabelName(name: string): boolean {
  return name !== "" && !/\p{Surrogate}/u.test(name);
}
