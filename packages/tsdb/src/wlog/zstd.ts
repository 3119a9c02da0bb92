/**
 * Zstandard frames (RFC 8878) of a bounded size. The library gives a frame the memory that its header asks for, so the
 * header is read here first:
 *
 *   u32 LE fd2fb528 | u8 flags: 7-6 size of the content size, 5 single segment, 1-0 size of the dictionary id
 *   window descriptor (not with a single segment) | dictionary id | content size, little-endian
 */

import { Decompress } from "fzstd";

const MAGIC = 0xfd2fb528;

export class ZstdFrameError extends Error {
  constructor(what: string) {
    super(`zstd frame: ${what}`);
    this.name = "ZstdFrameError";
  }
}

/** @param maxLength The most decoded bytes taken; a frame that claims or gives more is an error. @throws {Error} */
export function zstdDecode(frame: Uint8Array, maxLength: number): Uint8Array {
  const { windowSize, contentSize } = readHeader(frame);
  if (Math.max(windowSize, contentSize ?? 0) > maxLength) {
    throw new ZstdFrameError(
      `${contentSize ?? windowSize} bytes, of which at most ${maxLength} are taken`,
    );
  }
  const parts: Uint8Array[] = [];
  let total = 0;
  let ended = false;
  const stream = new Decompress((part, final) => {
    total += part.length;
    if (total > maxLength) throw new ZstdFrameError(`more than ${maxLength} bytes`);
    parts.push(part.slice());
    ended = final === true;
  });
  stream.push(frame, true);
  if (!ended) throw new ZstdFrameError("cut off");
  if (contentSize !== null && total !== contentSize) {
    throw new ZstdFrameError(`${total} bytes where the header says ${contentSize}`);
  }
  return new Uint8Array(Buffer.concat(parts, total));
}

function readHeader(frame: Uint8Array): { windowSize: number; contentSize: number | null } {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < 6 || view.getUint32(0, true) !== MAGIC) throw new ZstdFrameError("no header");
  const flags = frame[4] as number;
  const single = (flags & 0x20) !== 0;
  let at = 5;
  let windowSize = 0;
  if (!single) {
    const descriptor = frame[at++] as number;
    const base = 2 ** (10 + (descriptor >>> 3));
    windowSize = base + (base / 8) * (descriptor & 7);
  }
  at += [0, 1, 2, 4][flags & 3] as number;
  const sizeBytes = [single ? 1 : 0, 2, 4, 8][flags >>> 6] as number;
  if (at + sizeBytes > frame.length) throw new ZstdFrameError("the header is cut off");
  if (sizeBytes === 0) return { windowSize, contentSize: null };
  let contentSize = 0;
  for (let i = sizeBytes - 1; i >= 0; i--)
    contentSize = contentSize * 256 + (frame[at + i] as number);
  // Two bytes count from 256, as less fits one.
  if (sizeBytes === 2) contentSize += 256;
  return { windowSize, contentSize };
}
