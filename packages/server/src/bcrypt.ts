/**
 * Checks passwords against bcrypt hashes (Provos and Mazières, "A Future-Adaptable Password Scheme", USENIX 1999;
 * the `$2a$`, `$2b$` and `$2y$` of crypt(3)). Written here because a password costs some 50 ms by design and the
 * libraries compute it in slices of 100 ms: here it is slices of 2 ms, between which requests are served.
 *
 *     $2b$10$ | 22 characters of salt | 31 characters of hash     in an alphabet of its own, 6 bits each
 */

import { timingSafeEqual } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";

export class BcryptHashError extends Error {
  constructor(text: string) {
    super(`no bcrypt hash: ${text.slice(0, 7)}…`);
    this.name = "BcryptHashError";
  }
}

type ParsedHash = { cost: number; salt: Uint8Array; digest: Uint8Array };

const FORM = /^\$2[aby]\$(\d\d)\$([./A-Za-z0-9]{22})([./A-Za-z0-9]{31})$/;
const ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/** Each step doubles the time; 2^16 rounds take seconds. */
const MOST_COST = 16;
const SLICE_MS = 2;

/** @throws {BcryptHashError} */
export function parseBcrypt(text: string): ParsedHash {
  const match = FORM.exec(text);
  const cost = Number(match?.[1]);
  if (match === null || cost < 4 || cost > MOST_COST) throw new BcryptHashError(text);
  const [, , salt = "", digest = ""] = match;
  initialState();
  return { cost, salt: decode64(salt, 16), digest: decode64(digest, 23) };
}

/** @throws {BcryptHashError} */
export async function bcryptMatches(password: string, hash: string): Promise<boolean> {
  const { cost, salt, digest } = parseBcrypt(hash);
  return timingSafeEqual(await bcryptDigest(password, salt, cost), digest);
}

/** The 23 bytes that stand at the end of a hash. */
async function bcryptDigest(password: string, salt: Uint8Array, cost: number): Promise<Uint8Array> {
  // With the terminating zero, of which crypt(3) reads 72 bytes at most.
  const key = Buffer.from(`${password}\0`).subarray(0, 72);
  const keyWords = cyclicWords(key);
  const saltWords = cyclicWords(salt);
  const state = new Blowfish();
  state.expand(keyWords, saltWords);
  let sliceEnd = performance.now() + SLICE_MS;
  for (let round = 0; round < 2 ** cost; round++) {
    state.expand(keyWords, null);
    state.expand(saltWords, null);
    if (performance.now() < sliceEnd) continue;
    await nextTurn();
    sliceEnd = performance.now() + SLICE_MS;
  }
  const text = cyclicWords(Buffer.from("OrpheanBeholderScryDoubt")).subarray(0, 6);
  for (let i = 0; i < 64; i++) {
    for (let at = 0; at < text.length; at += 2) state.encipher(text, at);
  }
  const out = Buffer.alloc(24);
  for (const [i, word] of text.entries()) out.writeUInt32BE(word >>> 0, i * 4);
  return out.subarray(0, 23);
}

/** 18 big-endian words of the bytes, repeated. */
function cyclicWords(bytes: Uint8Array): Int32Array {
  const words = new Int32Array(18);
  for (let i = 0, at = 0; i < words.length; i++) {
    let word = 0;
    for (let j = 0; j < 4; j++, at = (at + 1) % bytes.length) {
      word = (word << 8) | (bytes[at] as number);
    }
    words[i] = word;
  }
  return words;
}

class Blowfish {
  readonly #p: Int32Array;
  readonly #s: Int32Array;

  constructor() {
    const initial = initialState();
    this.#p = initial.slice(0, 18);
    this.#s = initial.slice(18);
  }

  /** Blowfish's key schedule; with a salt, its words enter each block before it is enciphered. */
  expand(key: Int32Array, salt: Int32Array | null): void {
    const p = this.#p;
    for (let i = 0; i < p.length; i++) p[i] = (p[i] as number) ^ (key[i] as number);
    const block = new Int32Array(2);
    let at = 0;
    for (const table of [p, this.#s]) {
      for (let i = 0; i < table.length; i += 2) {
        if (salt !== null) {
          block[0] = (block[0] as number) ^ (salt[at] as number);
          block[1] = (block[1] as number) ^ (salt[at + 1] as number);
          // The salt has four words.
          at = (at + 2) % 4;
        }
        this.encipher(block, 0);
        table[i] = block[0] as number;
        table[i + 1] = block[1] as number;
      }
    }
  }

  encipher(block: Int32Array, at: number): void {
    const p = this.#p;
    const s = this.#s;
    let left = (block[at] as number) ^ (p[0] as number);
    let right = block[at + 1] as number;
    for (let i = 1; i <= 16; i += 2) {
      right ^= (p[i] as number) ^ mixed(s, left);
      left ^= (p[i + 1] as number) ^ mixed(s, right);
    }
    block[at] = right ^ (p[17] as number);
    block[at + 1] = left;
  }
}

function mixed(s: Int32Array, word: number): number {
  const a = s[word >>> 24] as number;
  const b = s[256 + ((word >>> 16) & 0xff)] as number;
  const c = s[512 + ((word >>> 8) & 0xff)] as number;
  const d = s[768 + (word & 0xff)] as number;
  return (((a + b) ^ c) + d) | 0;
}

/** Takes 50 ms to make, once: whoever parses a hash has it made. */
let digitsOfPi: Int32Array | undefined;

function initialState(): Int32Array {
  digitsOfPi ??= piWords(18 + 4 * 256);
  return digitsOfPi;
}

/** Blowfish begins with the fraction of pi: 16 (4 arctan 1/5 - arctan 1/239) / 4, in fixed point. */
function piWords(count: number): Int32Array {
  const guard = 64n;
  const one = 1n << (BigInt(count) * 32n + guard);
  const arctan = (inverse: bigint): bigint => {
    const square = inverse * inverse;
    let sum = 0n;
    let power = one / inverse;
    for (let n = 1n, sign = 1n; power !== 0n; n += 2n, sign = -sign, power /= square) {
      sum += (sign * power) / n;
    }
    return sum;
  };
  const pi = 4n * (4n * arctan(5n) - arctan(239n));
  const fraction = (pi & (one - 1n)) >> guard;
  const hex = fraction.toString(16).padStart(count * 8, "0");
  return Int32Array.from({ length: count }, (_, i) =>
    Number.parseInt(hex.slice(i * 8, i * 8 + 8), 16),
  );
}

function decode64(text: string, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let bits = 0;
  let held = 0;
  let at = 0;
  for (const c of text) {
    held = (held << 6) | ALPHABET.indexOf(c);
    bits += 6;
    if (bits < 8 || at === length) continue;
    bits -= 8;
    out[at++] = (held >>> bits) & 0xff;
    held &= (1 << bits) - 1;
  }
  return out;
}
