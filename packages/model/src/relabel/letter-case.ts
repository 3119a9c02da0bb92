/**
 * Upper and lower case as Go's strings package has them: letter by letter, by Unicode's simple mappings
 * (UnicodeData.txt). JavaScript's are the full ones, which know the end of a word and turn one letter into several.
 */

export function lowerCase(text: string): string {
  if (isAscii(text)) return text.toLowerCase();
  let out = "";
  for (const letter of text) {
    // The one letter whose full mapping has two.
    out += letter === "\u0130" ? "i" : letter.toLowerCase();
  }
  return out;
}

export function upperCase(text: string): string {
  if (isAscii(text)) return text.toUpperCase();
  let out = "";
  for (const letter of text) {
    const upper = letter.toUpperCase();
    out += Array.from(upper).length === 1 ? upper : simpleUpper(letter);
  }
  return out;
}

/** Of letters whose full mapping has several: Greek ones with an iota below have a simple one besides. */
function simpleUpper(letter: string): string {
  const code = letter.codePointAt(0) as number;
  if (code >= 0x1f80 && code <= 0x1faf) return String.fromCodePoint(code | 8);
  if (code === 0x1fb3 || code === 0x1fc3 || code === 0x1ff3) return String.fromCodePoint(code + 9);
  return letter;
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false;
  return true;
}
