/**
 * Buffers for messages that came in several chunks, used again when their call is over: half a megabyte for each
 * WriteRequest of 2,000 series is garbage that V8 would have to find, outside of its heap.
 */

/** Shorter messages are not worth it, longer ones are rare. */
const LEAST_BYTES = 64 << 10;
const MOST_BYTES = 4 << 20;
/** Of free buffers together. */
const MOST_FREE_BYTES = 16 << 20;

export class MessageBuffers {
  readonly #free: Uint8Array[] = [];
  #freeBytes = 0;

  /** A buffer of at least `size` bytes, whatever is in it. */
  take(size: number): Uint8Array {
    if (size >= LEAST_BYTES && size <= MOST_BYTES) {
      const found = this.#free.findIndex((each) => each.length >= size);
      if (found >= 0) {
        const [buffer] = this.#free.splice(found, 1) as [Uint8Array];
        this.#freeBytes -= buffer.length;
        return buffer;
      }
    }
    // A little larger, as requests of one sender are nearly alike.
    return Buffer.allocUnsafeSlow(size < LEAST_BYTES ? size : size + (size >> 3));
  }

  /** Nobody may look at it any more. */
  give(buffer: Uint8Array): void {
    if (buffer.length < LEAST_BYTES || buffer.length > MOST_BYTES) return;
    if (this.#freeBytes + buffer.length > MOST_FREE_BYTES) return;
    this.#free.push(buffer);
    this.#freeBytes += buffer.length;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }
}
