// Samples as text, as Prometheus' HTTP API writes them: [1700000000.140,"0.25"],
//
// A value is the shortest decimal that reads back as the same float64, and of those the nearest one; with an exponent
// below 1e-6 and from 1e21 on. The digits are found by Schubfach (R. Giulietti, "The Schubfach way to render
// doubles", 2020): with c * 2^q the value and k the largest power of ten that fits between its neighbours, the two
// decimals around it at 10^k and 10^(k+1) come out of three products of c with a 126-bit approximation of 10^-k.

/** 10^k as 128 bits (high, low), normalized and rounded up, for k from -292 to 324: filled by the loader. */
const powers = memory.data(617 * 16, 16);
const MIN_POWER = -292;

/** "00" to "99" */
const pairs = memory.data(200, 16);
const digits = memory.data(32, 16);

export function numberPowers(): usize {
  for (let i: u32 = 0; i < 100; i++) {
    store<u8>(pairs + 2 * i, <u8>(48 + i / 10));
    store<u8>(pairs + 2 * i + 1, <u8>(48 + (i % 10)));
  }
  return powers;
}

let productLow: u64 = 0;

/** The high half of the product; the low half is in `productLow`. */
// @ts-ignore: decorator
@inline
function multiply(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >>> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >>> 32;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  productLow = a * b;
  return aHigh * bHigh + (middle >>> 32) + (other >>> 32);
}

/** (high, low) * c / 2^128 with the last bit set when the rest was not nothing. */
// @ts-ignore: decorator
@inline
function scaled(high: u64, low: u64, c: u64): u64 {
  const below = multiply(low, c);
  let top = multiply(high, c);
  const rest = productLow + below;
  top += <u64>(rest < below);
  return top | <u64>(rest > 1);
}

let exponent: i32 = 0;

/** The decimal of a finite positive value: its digits, times ten to the power of `exponent`. */
function shortest(bits: u64): u64 {
  const fraction = bits & 0xfffffffffffff;
  const biased = <i32>(bits >>> 52) & 0x7ff;
  const c: u64 = biased == 0 ? fraction : fraction | 0x10000000000000;
  const q: i32 = biased == 0 ? -1074 : biased - 1075;
  if (q <= 0 && q > -53 && (c & (((<u64>1) << <u64>-q) - 1)) == 0) {
    exponent = 0;
    return c >>> <u64>-q;
  }
  const isOdd = c & 1;
  const isLowerCloser = <u64>(fraction == 0 && biased > 1);
  const k: i32 = (q * 1262611 - (isLowerCloser ? 524031 : 0)) >> 22;
  const h: u64 = <u64>(q + ((-k * 1741647) >> 19) + 1);
  const at = powers + (<usize>(-k - MIN_POWER) << 4);
  const high = load<u64>(at);
  const low = load<u64>(at, 8);
  const lower = scaled(high, low, (4 * c - 2 + isLowerCloser) << h) + isOdd;
  const value = scaled(high, low, (4 * c) << h);
  const upper = scaled(high, low, (4 * c + 2) << h) - isOdd;
  const s = value >>> 2;
  if (s >= 10) {
    const tens = multiply(s, 0xcccccccccccccccd) >>> 3;
    const isDownInside = lower <= 40 * tens;
    const isUpInside = 40 * tens + 40 <= upper;
    if (isDownInside != isUpInside) {
      exponent = k + 1;
      return tens + <u64>isUpInside;
    }
  }
  exponent = k;
  const isDownInside = lower <= 4 * s;
  const isUpInside = 4 * s + 4 <= upper;
  if (isDownInside != isUpInside) return s + <u64>isUpInside;
  const middle = 4 * s + 2;
  return s + <u64>(value > middle || (value == middle && (s & 1) != 0));
}

/** The digits of a number below 10^8, the last one before `end`; returns where they begin. */
// @ts-ignore: decorator
@inline
function digitsBefore(end: usize, number: u32): usize {
  let rest = number;
  while (rest >= 100) {
    const next = rest / 100;
    end -= 2;
    store<u16>(end, load<u16>(pairs + 2 * (rest - next * 100)));
    rest = next;
  }
  if (rest >= 10) {
    end -= 2;
    store<u16>(end, load<u16>(pairs + 2 * rest));
  } else store<u8>(--end, <u8>(48 + rest));
  return end;
}

/** Eight digits, zeros in front included. */
// @ts-ignore: decorator
@inline
function eightDigits(at: usize, number: u32): void {
  const high = number / 10000;
  const low = number - high * 10000;
  store<u16>(at, load<u16>(pairs + 2 * (high / 100)));
  store<u16>(at, load<u16>(pairs + 2 * (high % 100)), 2);
  store<u16>(at, load<u16>(pairs + 2 * (low / 100)), 4);
  store<u16>(at, load<u16>(pairs + 2 * (low % 100)), 6);
}

/** A number below 10^18 or so, in `digits` up to its end; returns where it begins. */
function toDigits(number: u64): usize {
  let end = digits + 32;
  while (number >= 100000000) {
    const high = multiply(number, 0xabcc77118461cefd) >>> 26;
    end -= 8;
    eightDigits(end, <u32>(number - high * 100000000));
    number = high;
  }
  return digitsBefore(end, <u32>number);
}

/** Copies up to 24 bytes, and writes up to 24. */
// @ts-ignore: decorator
@inline
function copyShort(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u64>(to, load<u64>(from, 8), 8);
  store<u64>(to, load<u64>(from, 16), 16);
}

/** At most 26 bytes are the text; up to 48 are written. Returns its end. */
function writeValue(to: usize, bits: u64): usize {
  if (((bits >>> 52) & 0x7ff) == 0x7ff) {
    if ((bits & 0xfffffffffffff) != 0) {
      store<u32>(to, 0x4e614e); // NaN
      return to + 3;
    }
    store<u32>(to, bits >>> 63 ? 0x666e492d : 0x666e492b); // -Inf, +Inf
    return to + 4;
  }
  if (bits >>> 63) store<u8>(to++, 45);
  bits &= 0x7fffffffffffffff;
  if (bits == 0) {
    store<u8>(to, 48);
    return to + 1;
  }
  let decimal = shortest(bits);
  let power = exponent;
  if (power < 0 || power > 4) {
    // Ten divides what times the inverse of five, turned right by one bit, is small.
    for (;;) {
      const tenth = rotr<u64>(decimal * 0xcccccccccccccccd, 1);
      if (tenth > 0x1999999999999999) break;
      decimal = tenth;
      power++;
    }
  }
  const from = toDigits(decimal);
  const count = <i32>(digits + 32 - from);
  /** Of the digits and the zeros behind them, so many stand before the point. */
  const point = count + power;
  if (point > 21 || point < -5) {
    store<u8>(to, load<u8>(from));
    to++;
    if (count > 1) {
      store<u8>(to, 46);
      copyShort(to + 1, from + 1);
      to += count;
    }
    let e = point - 1;
    store<u8>(to, 101);
    store<u8>(to + 1, e < 0 ? 45 : 43);
    if (e < 0) e = -e;
    to += 2;
    if (e >= 100) {
      store<u8>(to++, <u8>(48 + e / 100));
      e %= 100;
    }
    store<u16>(to, load<u16>(pairs + 2 * e));
    return to + 2;
  }
  if (point <= 0) {
    store<u64>(to, 0x3030303030302e30); // 0.000000
    to += 2 - point;
    copyShort(to, from);
    return to + count;
  }
  copyShort(to, from);
  if (power >= 0) {
    for (let i = count; i < point; i++) store<u8>(to + i, 48);
    return to + point;
  }
  copyShort(to + point + 1, from + point);
  store<u8>(to + point, 46);
  return to + count + 1;
}

/** Milliseconds as seconds, with three decimals when there are any. At most 21 bytes. */
// @ts-ignore: decorator
@inline
function writeTime(to: usize, ms: f64): usize {
  let whole = <i64>ms;
  if (whole < 0) {
    store<u8>(to++, 45);
    whole = -whole;
  }
  const seconds = <u64>whole / 1000;
  const rest = <u32>(<u64>whole - seconds * 1000);
  const from = toDigits(seconds);
  copyShort(to, from);
  to += digits + 32 - from;
  if (rest == 0) return to;
  store<u8>(to, 46);
  store<u8>(to + 1, <u8>(48 + rest / 100));
  store<u16>(to + 2, load<u16>(pairs + 2 * (rest % 100)));
  return to + 4;
}

/** Writes `[time,"value"],` for each sample, at most 64 bytes each, and returns where they end. */
export function writeSamples(times: usize, values: usize, count: u32, to: usize): usize {
  for (let i: u32 = 0; i < count; i++) {
    store<u8>(to, 91);
    to = writeTime(to + 1, load<f64>(times + (<usize>i << 3)));
    store<u16>(to, 0x222c); // ,"
    to = writeValue(to + 2, load<u64>(values + (<usize>i << 3)));
    store<u32>(to, 0x2c5d22); // "],
    to += 3;
  }
  return to;
}
