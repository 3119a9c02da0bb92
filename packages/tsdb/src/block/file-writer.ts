/** A file that grows at its end, buffered, with a running checksum over what `beginChecksum` begins. */

import { type ByteWriter, crc32c } from "@torus/encoding";
import { files, writeFully } from "../files.ts";

const FLUSH_BYTES = 1 << 20;

export class FileWriter {
  /** -1 when it is closed. */
  #fd: number;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  /** Bytes of the file so far, those not yet flushed included. */
  position = 0;
  #crc = 0;

  /** @param path A file that does not exist yet. */
  constructor(path: string) {
    this.#fd = files.open(path, "wx");
  }

  /** Takes the bytes over: they must not change until the file is closed or flushed. */
  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#crc = crc32c(bytes, this.#crc);
    this.#pending.push(bytes);
    this.#pendingBytes += bytes.length;
    this.position += bytes.length;
    if (this.#pendingBytes >= FLUSH_BYTES) this.flush();
  }

  /** Writes a copy of what the writer holds, and empties it. */
  drain(writer: ByteWriter): void {
    this.write(writer.copy());
    writer.reset();
  }

  pad(alignment: number): void {
    this.write(new Uint8Array((alignment - (this.position % alignment)) % alignment));
  }

  beginChecksum(): void {
    this.#crc = 0;
  }

  /** CRC-32C of everything since `beginChecksum`. */
  get checksum(): number {
    return this.#crc;
  }

  flush(): void {
    const bytes =
      this.#pending.length === 1 ? (this.#pending[0] as Uint8Array) : Buffer.concat(this.#pending);
    writeFully(this.#fd, bytes, null);
    this.#pending = [];
    this.#pendingBytes = 0;
  }

  /** Flushes, syncs to disk, closes. */
  finish(): void {
    try {
      this.flush();
      files.fsync(this.#fd);
    } finally {
      this.abandon();
    }
  }

  /** Closes without caring for what is unwritten; nothing when it is closed. */
  abandon(): void {
    const fd = this.#fd;
    this.#fd = -1;
    if (fd >= 0) files.close(fd);
  }
}
