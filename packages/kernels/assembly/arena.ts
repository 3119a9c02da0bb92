// The allocator of the linear memory, without headers: the caller remembers the size and gives it back to `free`.
//
// Small pieces (up to 1088 bytes, the largest open chunk) lie in slabs of 16 KiB, each cut into pieces of one size, a
// multiple of 16. A slab whose last piece was freed serves any size again: open chunks of many series outgrow their
// size together, and what they leave would otherwise wait for pieces of that size. Larger pieces have free lists by
// size class, four steps per doubling. One instance allocates; others over the same memory only read.
//
//   slab (32 bytes, at `slabs` + 32 * (address >> 14))
//    0 u32 first free piece    4 u16 pieces in use    6 u16 pieces given out so far    8 u16 size / 16   10 u16 pieces
//   12 u32 next slab          16 u32 slab before      of the list of its size with room, or of empty ones; 0 for none

const SMALL_LIMIT: usize = 1088;
const SLAB_BITS: usize = 14;
const SLAB: usize = 1 << SLAB_BITS;
const SLAB_ENTRY: usize = 32;
/** Slabs taken at once. */
const SLAB_RUN: usize = 16;
const CLASSES: i32 = 160;
const PAGE: usize = 65536;
const GROW_PAGES: i32 = 64;
/** Readable behind every piece, the last one too: hashing and comparing read whole words past the end of labels. */
const SLACK: u64 = 64;
/** The last page stays out of reach, so that an address plus a wild copy never wraps around. */
const MAX_PAGES: i32 = 65534;
/** Kept from small pieces, for tables that grow. */
const LARGE_RESERVE: u64 = 32 << 20;

const freeLists = memory.data(160 * 4, 16);
/** By size / 16: the slabs with room. */
const withRoom = memory.data(69 * 4, 16);
let bump: usize = (__heap_base + 63) & ~63;
/** One entry for each slab of the whole memory; what is not used of it is never touched, and so takes no memory. */
let slabs: usize = 0;
let emptySlabs: u32 = 0;
let emptyCount: u64 = 0;
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
  const log = 31 - clz<u32>(<u32>(rounded - 1));
  return 64 + (log - 10) * 4 + <i32>(rounded >> (log - 2)) - 4;
}

/** `rounded` bytes that were never given out; 0 when the memory is at its maximum. */
function extend(rounded: usize): usize {
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
  return at;
}

// @ts-ignore: decorator
@inline
function entryOf(slab: u32): usize {
  return slabs + <usize>slab * SLAB_ENTRY;
}

function prepend(list: usize, slab: u32): void {
  const entry = entryOf(slab);
  const first = load<u32>(list);
  store<u32>(entry, first, 12);
  store<u32>(entry, 0, 16);
  if (first != 0) store<u32>(entryOf(first), slab, 16);
  store<u32>(list, slab);
}

function unlink(list: usize, slab: u32): void {
  const entry = entryOf(slab);
  const next = load<u32>(entry, 12);
  const before = load<u32>(entry, 16);
  if (next != 0) store<u32>(entryOf(next), before, 16);
  if (before != 0) store<u32>(entryOf(before), next, 12);
  else store<u32>(list, next);
}

/** A slab for pieces of this size, in the list of those with room; 0 when the memory is at its maximum. */
function newSlab(rounded: usize, list: usize): u32 {
  if (emptySlabs == 0) {
    if (slabs == 0) {
      const bytes = (<usize>1 << (32 - SLAB_BITS)) * SLAB_ENTRY;
      slabs = extend(bytes);
      if (slabs == 0) return 0;
    }
    const gap = (SLAB - (bump & (SLAB - 1))) & (SLAB - 1);
    const run = extend(gap + SLAB * SLAB_RUN);
    if (run == 0) return 0;
    // The first one is on top.
    for (let i = SLAB_RUN; i > 0; i--) {
      const slab = <u32>((run + gap) >> SLAB_BITS) + <u32>i - 1;
      store<u32>(entryOf(slab), emptySlabs, 12);
      emptySlabs = slab;
    }
    emptyCount += SLAB_RUN;
  }
  const slab = emptySlabs;
  const entry = entryOf(slab);
  emptySlabs = load<u32>(entry, 12);
  emptyCount--;
  store<u64>(entry, 0);
  store<u16>(entry, <u16>(rounded >> 4), 8);
  store<u16>(entry, <u16>(SLAB / rounded), 10);
  prepend(list, slab);
  return slab;
}

function allocSmall(rounded: usize): usize {
  const list = withRoom + ((rounded >> 4) << 2);
  let slab = load<u32>(list);
  if (slab == 0) {
    slab = newSlab(rounded, list);
    if (slab == 0) return 0;
  }
  const entry = entryOf(slab);
  let given = load<u16>(entry, 6);
  const pieces = load<u16>(entry, 10);
  let at = <usize>load<u32>(entry);
  if (at != 0) store<u32>(entry, load<u32>(at));
  else {
    at = (<usize>slab << SLAB_BITS) + <usize>given * rounded;
    store<u16>(entry, ++given, 6);
  }
  store<u16>(entry, load<u16>(entry, 4) + 1, 4);
  if (given == pieces && load<u32>(entry) == 0) unlink(list, slab);
  inUse += rounded;
  return at;
}

function freeSmall(at: usize, rounded: usize): void {
  const list = withRoom + ((rounded >> 4) << 2);
  const slab = <u32>(at >> SLAB_BITS);
  const entry = entryOf(slab);
  const before = load<u32>(entry);
  const wasFull = before == 0 && load<u16>(entry, 6) == load<u16>(entry, 10);
  const used = load<u16>(entry, 4) - 1;
  store<u16>(entry, used, 4);
  if (used == 0) {
    if (!wasFull) unlink(list, slab);
    store<u32>(entry, emptySlabs, 12);
    emptySlabs = slab;
    emptyCount++;
  } else {
    store<u32>(at, before);
    store<u32>(entry, <u32>at);
    if (wasFull) prepend(list, slab);
  }
  inUse -= rounded;
}

/** The address of `size` bytes, 16-byte aligned, not cleared; 0 when the memory is at its maximum. */
export function alloc(size: usize): usize {
  if (size > 0x60000000) return 0;
  const rounded = roundedSize(size);
  if (rounded <= SMALL_LIMIT) return allocSmall(rounded);
  const list = freeLists + (<usize>classOf(rounded) << 2);
  const first = load<u32>(list);
  if (first != 0) {
    store<u32>(list, load<u32>(first));
    inUse += rounded;
    return first;
  }
  const at = extend(rounded);
  if (at != 0) inUse += rounded;
  return at;
}

/** Takes back what `alloc(size)` gave. */
export function free(at: usize, size: usize): void {
  if (at == 0) return;
  const rounded = roundedSize(size);
  if (rounded <= SMALL_LIMIT) {
    freeSmall(at, rounded);
    return;
  }
  const list = freeLists + (<usize>classOf(rounded) << 2);
  store<u32>(at, load<u32>(list));
  store<u32>(list, <u32>at);
  inUse -= rounded;
}

export function arenaBytesInUse(): f64 {
  return <f64>inUse;
}

/** Bytes never handed out yet, and slabs that are empty; freed larger pieces are not counted. */
export function arenaBytesFree(): f64 {
  const rest = <u64>MAX_PAGES * PAGE - <u64>bump;
  return <f64>(rest < LARGE_RESERVE ? rest : rest + emptyCount * SLAB);
}
