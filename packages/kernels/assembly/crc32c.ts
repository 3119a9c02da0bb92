// CRC-32C (Castagnoli, reflected polynomial 82f63b78), eight bytes a step through eight tables.

const tables = memory.data(8 * 256 * 4, 16);
let ready = false;

function fillTables(): void {
  for (let i: u32 = 0; i < 256; i++) {
    let crc = i;
    for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    store<u32>(tables + (i << 2), crc);
  }
  for (let i: u32 = 0; i < 256; i++) {
    let crc = load<u32>(tables + (i << 2));
    for (let t: u32 = 1; t < 8; t++) {
      crc = load<u32>(tables + ((crc & 0xff) << 2)) ^ (crc >>> 8);
      store<u32>(tables + (t << 10) + (i << 2), crc);
    }
  }
  ready = true;
}

// @ts-ignore: decorator
@inline
function table(t: usize, index: u32): u32 {
  return load<u32>(tables + (t << 10) + ((index & 0xff) << 2));
}

/** Continues from `seed`, the checksum of what came before (0 at the start). */
export function crc32c(at: usize, length: usize, seed: u32): u32 {
  if (!ready) fillTables();
  let crc = ~seed;
  const end = at + length;
  while (at + 8 <= end) {
    const low = load<u32>(at) ^ crc;
    const high = load<u32>(at + 4);
    crc =
      table(7, low) ^ table(6, low >>> 8) ^ table(5, low >>> 16) ^ table(4, low >>> 24) ^
      table(3, high) ^ table(2, high >>> 8) ^ table(1, high >>> 16) ^ table(0, high >>> 24);
    at += 8;
  }
  for (; at < end; at++) crc = table(0, crc ^ load<u8>(at)) ^ (crc >>> 8);
  return ~crc;
}
