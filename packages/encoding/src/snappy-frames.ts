/**
 * Snappy's framed stream format, as gRPC's `snappy` compressor speaks it (a public specification, framing_format.txt).
 *
 *   ff 06 00 00 "sNaPpY"                        stream identifier, first and maybe again
 *   type u8, length u24 LE, masked CRC-32C u32 LE of the decoded bytes, data      type 0: snappy block, 1: as it is
 *
 * A chunk holds at most 65,536 decoded bytes. Types 2 to 7f must be refused, 80 to fe skipped.
 */

import { crc32c, snappyDecode, snappyEncode } from "@torus/kernels";

const IDENTIFIER = Uint8Array.of(0xff, 6, 0, 0, 0x73, 0x4e, 0x61, 0x50, 0x70, 0x59);
const MAX_CHUNK = 65_536;

export class SnappyFrameError extends Error {
  readonly offset: number;
  constructor(what: string, offset: number) {
    super(`snappy stream: ${what} at byte ${offset}`);
    this.name = "SnappyFrameError";
    this.offset = offset;
  }
}

function mask(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/**
 * @param maxLength The most decoded bytes that the caller takes; exceeding it is an error before they are made.
 * @throws {SnappyFrameError}
 */
export function decodeSnappyFrames(stream: Uint8Array, maxLength: number): Uint8Array {
  const view = new DataView(stream.buffer, stream.byteOffset, stream.byteLength);
  const parts: Uint8Array[] = [];
  let total = 0;
  let at = 0;
  while (at < stream.length) {
    if (stream.length - at < 4) throw new SnappyFrameError("torn chunk header", at);
    const type = stream[at] as number;
    const size = view.getUint16(at + 1, true) | ((stream[at + 3] as number) << 16);
    const start = at + 4;
    if (size > stream.length - start) throw new SnappyFrameError("torn chunk", at);
    if (at === 0 && type !== 0xff) throw new SnappyFrameError("no stream identifier", at);
    if (type === 0xff) {
      if (Buffer.compare(stream.subarray(at, start + size), IDENTIFIER) !== 0) {
        throw new SnappyFrameError("bad stream identifier", at);
      }
    } else if (type <= 1) {
      if (size < 4) throw new SnappyFrameError("chunk without a checksum", at);
      const data = stream.subarray(start + 4, start + size);
      const room = Math.min(MAX_CHUNK, maxLength - total);
      if (type === 1 && data.length > room) throw new SnappyFrameError("too much data", at);
      const plain = type === 0 ? snappyDecode(data, room) : data;
      if (mask(crc32c(plain)) !== view.getUint32(start, true)) {
        throw new SnappyFrameError("checksum mismatch", at);
      }
      total += plain.length;
      parts.push(plain);
    } else if (type < 0x80) {
      throw new SnappyFrameError(`unknown chunk type ${type}`, at);
    }
    at = start + size;
  }
  return parts.length === 1 ? (parts[0] as Uint8Array) : concat(parts, total);
}

export function encodeSnappyFrames(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [IDENTIFIER];
  let total = IDENTIFIER.length;
  for (let start = 0; start < bytes.length; start += MAX_CHUNK) {
    const plain = bytes.subarray(start, start + MAX_CHUNK);
    const block = snappyEncode(plain);
    // What hardly shrinks is sent as it is, as the reference encoder does.
    const packed = block.length < plain.length - plain.length / 8;
    const data = packed ? block : plain;
    const header = new Uint8Array(8);
    const view = new DataView(header.buffer);
    view.setUint32(0, (packed ? 0 : 1) | ((data.length + 4) << 8), true);
    view.setUint32(4, mask(crc32c(plain)), true);
    parts.push(header, data);
    total += header.length + data.length;
  }
  return concat(parts, total);
}

function concat(parts: readonly Uint8Array[], total: number): Uint8Array {
  const out = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
