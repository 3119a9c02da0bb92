/** A WriteRequest put together from parts of another one, bounded. */

import { BodyTooLargeError } from "@torus/kernels";
import { fieldSize, type SeriesBytes, writeHead } from "./series-bytes.ts";

export class BodyWriter {
  readonly #source: Buffer;
  readonly #maxBytes: number;
  #out: Buffer;
  #at = 0;

  /** @throws {BodyTooLargeError} from the writing methods, above `maxBytes`. */
  constructor(source: Buffer, maxBytes: number) {
    this.#source = source;
    this.#maxBytes = maxBytes;
    this.#out = Buffer.allocUnsafe(Math.min(source.length + 1024, maxBytes));
  }

  /** Bytes of the source as they are. */
  copy(start: number, end: number): void {
    this.#room(end - start);
    this.#source.copy(this.#out, this.#at, start, end);
    this.#at += end - start;
  }

  /** A series of the source with other labels. */
  series({ content, labels, labelsEnd, end }: SeriesBytes, own: Uint8Array): void {
    const length = end - content - (labelsEnd - labels) + own.length;
    this.#room(fieldSize(length));
    this.#at = writeHead(this.#out, this.#at, 0x0a, length);
    this.#out.set(own, this.#at);
    this.#at += own.length;
    this.copy(content, labels);
    this.copy(labelsEnd, end);
  }

  finish(): Uint8Array {
    return this.#out.subarray(0, this.#at);
  }

  #room(bytes: number): void {
    const wanted = this.#at + bytes;
    if (wanted <= this.#out.length) return;
    if (wanted > this.#maxBytes) throw new BodyTooLargeError(wanted, this.#maxBytes);
    const larger = Buffer.allocUnsafe(
      Math.min(this.#maxBytes, Math.max(wanted, this.#out.length * 2)),
    );
    this.#out.copy(larger, 0, 0, this.#at);
    this.#out = larger;
  }
}
