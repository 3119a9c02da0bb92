/**
 * XOR chunks in plain code (Prometheus, tsdb/docs/format/chunks.md): a decoder into columns, and an encoder of whole columns that
 * the kernel's appender is held against. Values pass as pairs of 32-bit words, so that the bits of a NaN stay.
 */

/** Bits read from the top of each byte down, at most 32 at a time. */
class BitReader {
  readonly #bytes: Uint8Array;
  #at: number;
  #bit = 0;
  broken = false;

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  /** The next `n` <= 32 bits as an unsigned number; zeros, and `broken`, behind the end. */
  take(n: number): number {
    let value = 0;
    let left = n;
    while (left > 0) {
      if (this.#at >= this.#bytes.length) {
        this.broken = true;
        return 0;
      }
      const room = 8 - this.#bit;
      const use = left < room ? left : room;
      const part = ((this.#bytes[this.#at] as number) >> (room - use)) & ((1 << use) - 1);
      value = value * 2 ** use + part;
      this.#bit += use;
      if (this.#bit === 8) {
        this.#bit = 0;
        this.#at++;
      }
      left -= use;
    }
    return value;
  }

  uvarint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.take(8);
      if (this.broken) return 0n;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    this.broken = true;
    return 0n;
  }
}

/** What `n` raw bits stand for: the range is -(2^(n-1)-1) .. 2^(n-1). */
function signed(raw: number, n: number): number {
  return raw > 2 ** (n - 1) ? raw - 2 ** n : raw;
}

/** Returns the number of samples, or -1 for a chunk that is cut. Times are exact up to 2^53 ms. */
export function decodeXor(chunk: Uint8Array, times: Float64Array, values: Float64Array): number {
  if (chunk.length < 2) return -1;
  const count = ((chunk[0] as number) << 8) | (chunk[1] as number);
  if (count > times.length || count > values.length) {
    throw new RangeError(`${count} samples into columns of ${times.length} and ${values.length}`);
  }
  const words = new Uint32Array(values.buffer, values.byteOffset, count * 2);
  const bits = new BitReader(chunk, 2);
  let time = 0n;
  let delta = 0n;
  let high = 0;
  let low = 0;
  let leading = 0;
  let trailing = 0;
  for (let i = 0; i < count; i++) {
    if (i === 0) {
      const raw = bits.uvarint();
      time = (raw >> 1n) ^ -(raw & 1n);
      high = bits.take(32);
      low = bits.take(32);
    } else {
      if (i === 1) delta = BigInt.asIntN(64, bits.uvarint());
      else {
        let ones = 0;
        while (ones < 4 && bits.take(1) === 1) ones++;
        if (ones === 1) delta += BigInt(signed(bits.take(14), 14));
        else if (ones === 2) delta += BigInt(signed(bits.take(17), 17));
        else if (ones === 3) delta += BigInt(signed(bits.take(20), 20));
        else if (ones === 4) delta += (BigInt(bits.take(32)) << 32n) | BigInt(bits.take(32));
        delta = BigInt.asIntN(64, delta);
      }
      time = BigInt.asIntN(64, time + delta);
      if (bits.take(1) === 1) {
        if (bits.take(1) === 1) {
          leading = bits.take(5);
          const n = bits.take(6) || 64;
          if (leading + n > 64) return -1;
          trailing = 64 - leading - n;
        }
        const n = 64 - leading - trailing;
        // n significant bits, then `trailing` zeros: split over the two words.
        const top = n > 32 ? bits.take(n - 32) : 0;
        const bottom = bits.take(n > 32 ? 32 : n);
        const xor = ((BigInt(top) << 32n) | BigInt(bottom)) << BigInt(trailing);
        high = (high ^ Number((xor >> 32n) & 0xffffffffn)) >>> 0;
        low = (low ^ Number(xor & 0xffffffffn)) >>> 0;
      }
    }
    if (bits.broken) return -1;
    times[i] = Number(time);
    words[i * 2] = low;
    words[i * 2 + 1] = high;
  }
  return count;
}

/** Encodes columns (times as int64, values as bits) as one chunk. */
export function encodeXor(times: readonly bigint[], values: readonly bigint[]): Uint8Array {
  let text = "";
  const put = (value: bigint, n: number) => {
    text += BigInt.asUintN(n, value).toString(2).padStart(n, "0");
  };
  const uvarint = (value: bigint) => {
    let rest = BigInt.asUintN(64, value);
    for (; rest >= 0x80n; rest >>= 7n) put((rest & 0x7fn) | 0x80n, 8);
    put(rest, 8);
  };
  const fits = (v: bigint, n: bigint) => v > -(1n << (n - 1n)) && v <= 1n << (n - 1n);
  put(BigInt(times.length), 16);
  let window: [leading: number, trailing: number] | null = null;
  let delta = 0n;
  times.forEach((time, i) => {
    const value = values[i] as bigint;
    if (i === 0) {
      uvarint((time << 1n) ^ (time >> 63n));
      put(value, 64);
      return;
    }
    const step = BigInt.asIntN(64, time - (times[i - 1] as bigint));
    if (i === 1) uvarint(step);
    else {
      const dod = BigInt.asIntN(64, step - delta);
      if (dod === 0n) text += "0";
      else if (fits(dod, 14n)) {
        text += "10";
        put(dod, 14);
      } else if (fits(dod, 17n)) {
        text += "110";
        put(dod, 17);
      } else if (fits(dod, 20n)) {
        text += "1110";
        put(dod, 20);
      } else {
        text += "1111";
        put(dod, 64);
      }
    }
    delta = step;
    const xor = value ^ (values[i - 1] as bigint);
    if (xor === 0n) {
      text += "0";
      return;
    }
    const bits = xor.toString(2).padStart(64, "0");
    const leading = Math.min(bits.indexOf("1"), 31);
    const trailing = 63 - bits.lastIndexOf("1");
    if (window !== null && leading >= window[0] && trailing >= window[1]) {
      text += `10${bits.slice(window[0], 64 - window[1])}`;
      return;
    }
    window = [leading, trailing];
    const n = 64 - leading - trailing;
    text += "11";
    put(BigInt(leading), 5);
    put(BigInt(n % 64), 6);
    text += bits.slice(leading, 64 - trailing);
  });
  const out = new Uint8Array(Math.ceil(text.length / 8));
  for (let i = 0; i < out.length; i++) {
    out[i] = Number.parseInt(text.slice(i * 8, i * 8 + 8).padEnd(8, "0"), 2);
  }
  return out;
}
