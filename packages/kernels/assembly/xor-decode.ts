// Decodes XOR chunks into columns; the format is drawn in xor.ts.
//
// `word` holds the next `have` bits of the stream, topmost first; what stands below them are bits of the same bytes
// that the next refill puts there again. A refill leaves 56 bits or more, which a timestamp and a value's header take
// in most cases. It may read behind the chunk, where slack is; whether the chunk reached so far is asked after each
// sample.

// @ts-ignore: decorator
@inline
function signed(raw: u64, n: u64): i64 {
  return raw > (<u64>1 << (n - 1)) ? <i64>(raw - (<u64>1 << n)) : <i64>raw;
}

let varintEnd: usize = 0;

/** Behind the varint that `uvarint` read last; 0 when there was none. */
export function uvarintEnd(): usize {
  return varintEnd;
}

/** Sets `varintEnd` to 0 when the varint does not end before `end` or is longer than ten bytes. */
export function uvarint(at: usize, end: usize): u64 {
  let value: u64 = 0;
  for (let shift: u64 = 0; shift < 70; shift += 7) {
    if (at >= end) break;
    const byte = <u64>load<u8>(at++);
    if (shift < 64) value |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      varintEnd = at;
      return value;
    }
  }
  varintEnd = 0;
  return 0;
}

/**
 * Decodes the first `limit` samples (all when negative) of a chunk into two columns of f64, times first converted;
 * returns their number, or -1 when the chunk ends before its own count says.
 */
export function xorDecode(at: usize, length: usize, times: usize, values: usize, limit: i32): i32 {
  if (length < 2) return -1;
  let count = <i32>bswap<u16>(load<u16>(at));
  if (limit >= 0 && limit < count) count = limit;
  if (count == 0) return 0;
  const end = at + length;
  const raw = uvarint(at + 2, end);
  let p = varintEnd;
  if (p == 0 || p + 8 > end) return -1;
  let t = <i64>(raw >> 1) ^ -(<i64>(raw & 1));
  let v = bswap<u64>(load<u64>(p));
  p += 8;
  store<f64>(times, <f64>t);
  store<u64>(values, v);
  if (count == 1) return 1;
  let delta = <i64>uvarint(p, end);
  p = varintEnd;
  if (p == 0) return -1;
  let word: u64 = 0;
  let have: u64 = 0;
  /** The value's significant bits, and the zeros below them. */
  let bits: u64 = 64;
  let trailing: u64 = 0;
  const stop = times + (<usize>count << 3);
  const apart = values - times;
  for (let to = times + 8; to < stop; to += 8) {
    word |= bswap<u64>(load<u64>(p)) >> have;
    p += <usize>((63 - have) >> 3);
    have |= 56;
    if (to != times + 8) {
      if (<i64>word >= 0) {
        word <<= 1;
        have -= 1;
      } else {
        const ones = clz<u64>(~word);
        if (ones == 1) {
          delta += signed((word << 2) >> 50, 14);
          word <<= 16;
          have -= 16;
        } else if (ones == 2) {
          delta += signed((word << 3) >> 47, 17);
          word <<= 20;
          have -= 20;
        } else if (ones == 3) {
          delta += signed((word << 4) >> 44, 20);
          word <<= 24;
          have -= 24;
        } else {
          const high = (word << 4) >> 32;
          word <<= 36;
          have -= 36;
          word |= bswap<u64>(load<u64>(p)) >> have;
          p += <usize>((63 - have) >> 3);
          have |= 56;
          delta += <i64>((high << 32) | (word >> 32));
          word <<= 32;
          have -= 32;
        }
        word |= bswap<u64>(load<u64>(p)) >> have;
        p += <usize>((63 - have) >> 3);
        have |= 56;
      }
    }
    t += delta;
    if (<i64>word >= 0) {
      word <<= 1;
      have -= 1;
    } else {
      if (<i64>(word << 1) < 0) {
        const leading = (word >> 57) & 31;
        bits = (word >> 51) & 63;
        if (bits == 0) bits = 64;
        if (leading + bits > 64) return -1;
        trailing = 64 - leading - bits;
        word <<= 13;
        have -= 13;
      } else {
        word <<= 2;
        have -= 2;
      }
      if (bits > have) {
        word |= bswap<u64>(load<u64>(p)) >> have;
        p += <usize>((63 - have) >> 3);
        have |= 56;
      }
      if (bits <= have) {
        v ^= (word >> (64 - bits)) << trailing;
        // Of 64 bits no shift would be one of none.
        word = bits == 64 ? 0 : word << bits;
        have -= bits;
      } else {
        // 57 bits or more, of which `have` are here.
        const here = have;
        const high = word >> (64 - here);
        word = bswap<u64>(load<u64>(p));
        p += 7;
        const left = bits - here;
        v ^= ((high << left) | (word >> (64 - left))) << trailing;
        word <<= left;
        have = 56 - left;
      }
    }
    // Bits that were taken, against those that the chunk has.
    if ((<u64>p << 3) - have > <u64>end << 3) return -1;
    store<f64>(to, <f64>t);
    store<u64>(to + apart, v);
  }
  return count;
}
