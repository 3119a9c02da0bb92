/**
 * gRPC's length-prefixed messages (PROTOCOL-HTTP2.md):
 *
 *     ┌──────────────────┬──────────────────────┬─────────┐
 *     │ compressed (1 B) │ length (4 B, big e.) │ message │
 *     └──────────────────┴──────────────────────┴─────────┘
 */

import { GrpcError, GrpcStatus } from "./service.ts";

const PREFIX = 5;

export type Frame = { compressed: boolean; message: Uint8Array };

/**
 * Cuts the chunks of a stream into messages. A message's bytes are kept as they came until it is complete, so
 * that a length claimed by the peer allocates nothing.
 */
export class FrameReader {
  readonly #maxBytes: number;
  readonly #takeBuffer: ((size: number) => Uint8Array) | undefined;
  #chunks: Uint8Array[] = [];
  #size = 0;

  /** @param take For messages in several chunks; at least as long as asked for. */
  constructor(maxMessageBytes: number, take?: (size: number) => Uint8Array) {
    this.#maxBytes = maxMessageBytes;
    this.#takeBuffer = take;
  }

  /** Bytes of an incomplete message are waiting. */
  get isPartial(): boolean {
    return this.#size > 0;
  }

  /**
   * Takes a chunk over and returns the messages that it completed; a message may be a view of it.
   *
   * @throws {GrpcError} RESOURCE_EXHAUSTED above the limit, INTERNAL for a flag that does not exist.
   */
  push(chunk: Uint8Array): Frame[] {
    if (chunk.length === 0) return [];
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    const frames: Frame[] = [];
    while (this.#size >= PREFIX) {
      const head = this.#peek(PREFIX);
      const flag = head[0] ?? 0;
      if (flag > 1) throw new GrpcError(GrpcStatus.INTERNAL, `unexpected message flag ${flag}`);
      const length = new DataView(head.buffer, head.byteOffset).getUint32(1);
      if (length > this.#maxBytes) {
        throw new GrpcError(
          GrpcStatus.RESOURCE_EXHAUSTED,
          `received message larger than max (${length} vs. ${this.#maxBytes})`,
        );
      }
      if (this.#size < PREFIX + length) break;
      const whole = this.#take(PREFIX + length);
      frames.push({ compressed: flag === 1, message: whole.subarray(PREFIX) });
    }
    return frames;
  }

  #peek(size: number): Uint8Array {
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= size) return first.subarray(0, size);
    const head = new Uint8Array(size);
    let filled = 0;
    for (const chunk of this.#chunks) {
      const part = chunk.subarray(0, size - filled);
      head.set(part, filled);
      filled += part.length;
      if (filled === size) break;
    }
    return head;
  }

  /** The first `size` bytes, which are there; a view when one chunk holds them. */
  #take(size: number): Uint8Array {
    this.#size -= size;
    const first = this.#chunks[0];
    if (first !== undefined && first.length >= size) {
      if (first.length === size) this.#chunks.shift();
      else this.#chunks[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    // Nothing may lie behind it in a buffer that is used again.
    if (this.#size === 0 && this.#takeBuffer !== undefined) {
      return this.#joined(this.#takeBuffer(size).subarray(0, size));
    }
    const whole = Buffer.concat(this.#chunks);
    const rest = whole.subarray(size);
    this.#chunks = rest.length === 0 ? [] : [rest];
    return whole.subarray(0, size);
  }

  #joined(whole: Uint8Array): Uint8Array {
    let at = 0;
    for (const chunk of this.#chunks) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [];
    return whole;
  }
}

/** The five bytes before a message of `length` bytes. */
export function framePrefix(length: number, compressed = false): Buffer {
  const prefix = Buffer.allocUnsafe(PREFIX);
  prefix[0] = compressed ? 1 : 0;
  prefix.writeUInt32BE(length, 1);
  return prefix;
}

/** Below this, copying a message behind its prefix is cheaper than a second write. */
const COPY_BELOW = 4096;

type Corkable = {
  cork(): void;
  uncork(): void;
  write(chunk: Uint8Array): boolean;
};

/** Writes one message, given in parts. Returns what the last `write` said about back-pressure. */
export function writeFrame(
  stream: Corkable,
  parts: readonly Uint8Array[],
  compressed = false,
): boolean {
  let length = 0;
  for (const part of parts) length += part.length;
  const prefix = framePrefix(length, compressed);
  if (length < COPY_BELOW) return stream.write(Buffer.concat([prefix, ...parts]));
  stream.cork();
  let more = stream.write(prefix);
  for (const part of parts) more = stream.write(part);
  stream.uncork();
  return more;
}
