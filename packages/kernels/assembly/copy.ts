// Copies and comparisons in steps of 16 bytes.

/** Copies `n` bytes; reads and writes up to 15 bytes more, which both sides must have as slack. */
// @ts-ignore: decorator
@inline
export function wildCopy(to: usize, from: usize, n: usize): void {
  v128.store(to, v128.load(from));
  for (let i: usize = 16; i < n; i += 16) v128.store(to + i, v128.load(from + i));
}

/** Whether two ranges of `n` bytes are equal; reads nothing outside them. */
// @ts-ignore: decorator
@inline
export function bytesEqual(a: usize, b: usize, n: usize): bool {
  if (n < 16) {
    for (let i: usize = 0; i < n; i++) if (load<u8>(a + i) != load<u8>(b + i)) return false;
    return true;
  }
  const last = n - 16;
  for (let i: usize = 0; i < last; i += 16) {
    if (v128.any_true(v128.xor(v128.load(a + i), v128.load(b + i)))) return false;
  }
  return !v128.any_true(v128.xor(v128.load(a + last), v128.load(b + last)));
}

/** Byte order of two ranges: negative, zero or positive; a prefix comes first. */
export function compareBytes(a: usize, aLength: usize, b: usize, bLength: usize): i32 {
  const shorter = min(aLength, bLength);
  let i: usize = 0;
  for (; i + 8 <= shorter; i += 8) {
    const x = bswap<u64>(load<u64>(a + i));
    const y = bswap<u64>(load<u64>(b + i));
    if (x != y) return x < y ? -1 : 1;
  }
  for (; i < shorter; i++) {
    const d = <i32>load<u8>(a + i) - <i32>load<u8>(b + i);
    if (d != 0) return d;
  }
  return aLength < bLength ? -1 : aLength > bLength ? 1 : 0;
}
