/**
 * How far V8's heap may grow before it is marked to find garbage. V8 lets a small heap grow by so little that buffers of
 * messages, which lie outside of it but are counted, have it marked several times a second: a receiver whose heap holds
 * 26 MB spent a third of its CPU time so. Here a small heap may grow up to a given size, a large one as V8 thinks best.
 */

import { getHeapStatistics, setFlagsFromString } from "node:v8";

/** Checked so often, as the heap grows with its series. */
const CHECK_EVERY_MS = 10_000;
/** V8's own rule lets a heap of this share of the size grow to it. */
const LARGE = 0.5;

/** In percent of what is used; 0 for V8's own rule. */
export function growthPercent(usedBytes: number, roomBytes: number): number {
  if (usedBytes >= roomBytes * LARGE) return 0;
  return Math.floor((roomBytes / Math.max(usedBytes, 1 << 20) - 1) * 100);
}

/**
 * @param roomBytes At most a quarter of what V8 may take at all counts, which is less in a small container.
 * @returns Ends it: V8's own rule holds again.
 */
export function letHeapGrow(roomBytes: number): () => void {
  const room = Math.min(roomBytes, getHeapStatistics().heap_size_limit / 4);
  let last = 0;
  const set = (percent: number) => {
    if (percent === last) return;
    last = percent;
    setFlagsFromString(`--heap-growing-percent=${percent}`);
  };
  const check = () => set(growthPercent(getHeapStatistics().used_heap_size, room));
  check();
  const timer = setInterval(check, CHECK_EVERY_MS).unref();
  return () => {
    clearInterval(timer);
    set(0);
  };
}
