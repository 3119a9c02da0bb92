/** ULIDs, the names of blocks: 48 bits of Unix milliseconds, 80 random bits, in Crockford's base 32. */

import { randomFillSync } from "node:crypto";

const ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const ULID = /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/;

export function isUlid(text: string): boolean {
  return ULID.test(text);
}

export function newUlid(timeMs: number): string {
  let out = "";
  let time = timeMs;
  for (let i = 0; i < 10; i++) {
    out = ALPHABET.charAt(time % 32) + out;
    time = Math.floor(time / 32);
  }
  for (const byte of randomFillSync(new Uint8Array(16))) out += ALPHABET.charAt(byte & 31);
  return out;
}

/** The creation time in Unix milliseconds. */
export function ulidTime(ulid: string): number {
  let time = 0;
  for (let i = 0; i < 10; i++) time = time * 32 + ALPHABET.indexOf(ulid.charAt(i));
  return time;
}
