// The allocator of the linear memory: a bump pointer and one free list per size class, no headers.
// Up to 1024 bytes the classes are multiples of 16; above, four steps per doubling. The caller remembers
// the size and gives it back to `free`. One instance allocates; others over the same memory only read.

const SMALL_LIMIT: usize = 1024;
const CLASSES: i32 = 160;
const PAGE: usize = 65536;
const GROW_PAGES: i32 = 64;
/** Readable behind every piece, the last one too: hashing and comparing read whole words past the end of labels. */
const SLACK: u64 = 64;
/** The last page stays out of reach, so that an address plus a wild copy never wraps around. */
const MAX_PAGES: i32 = 65534;

const freeLists = memory.data(160 * 4, 16);
let bump: usize = (__heap_base + 63) & ~63;
let inUse: u64 = 0;

/** The size a request of `size` bytes really takes. */
export function roundedSize(size: usize): usize {
  if (size <= SMALL_LIMIT) return size == 0 ? 16 : (size + 15) & ~15;
  const log = 31 - clz<u32>(<u32>(size - 1));
  const step = (<usize>1) << (log - 2);
  return (size + step - 1) & ~(step - 1);
}

// @ts-ignore: decorator
@inline
function classOf(rounded: usize): i32 {
  if (rounded <= SMALL_LIMIT) return <i32>(rounded >> 4);
  const log = 31 - clz<u32>(<u32>(rounded - 1));
  return 64 + (log - 10) * 4 + <i32>(rounded >> (log - 2)) - 4;
}

/** The address of `size` bytes, 16-byte aligned, not cleared; 0 when the memory is at its maximum. */
export function alloc(size: usize): usize {
  if (size > 0x60000000) return 0;
  const rounded = roundedSize(size);
  const list = freeLists + (<usize>classOf(rounded) << 2);
  const first = load<u32>(list);
  if (first != 0) {
    store<u32>(list, load<u32>(first));
    inUse += rounded;
    return first;
  }
  const end = <u64>bump + <u64>rounded;
  const have = <u64>memory.size() * PAGE;
  if (end + SLACK > have) {
    let pages = <i32>((end + SLACK - have + PAGE - 1) / PAGE);
    const room = MAX_PAGES - <i32>memory.size();
    if (pages > room) return 0;
    if (pages < GROW_PAGES) pages = min(GROW_PAGES, room);
    if (memory.grow(pages) < 0) return 0;
  }
  const at = bump;
  bump = <usize>end;
  inUse += rounded;
  return at;
}

/** Takes back what `alloc(size)` gave. */
export function free(at: usize, size: usize): void {
  if (at == 0) return;
  const rounded = roundedSize(size);
  const list = freeLists + (<usize>classOf(rounded) << 2);
  store<u32>(at, load<u32>(list));
  store<u32>(list, <u32>at);
  inUse -= rounded;
}

export function arenaBytesInUse(): f64 {
  return <f64>inUse;
}

/** Bytes never handed out yet; freed ones are not counted. */
export function arenaBytesFree(): f64 {
  return <f64>(<u64>MAX_PAGES * PAGE - <u64>bump);
}
