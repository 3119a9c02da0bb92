/**
 * Zstandard frames (RFC 8878), of bounded size and without dictionaries. Written here because the library in
 * JavaScript trusts what it reads: a few bytes can keep it busy for minutes. Here every length is checked against
 * what there is, a block makes 128 KiB at most, and nothing is read outside its part.
 *
 *     frame    u32 LE fd2fb528 | flags: 7-6 width of the content size, 5 single segment, 2 checksum, 1-0 width of the
 *              dictionary's id | window descriptor (not with a single segment) | dictionary's id | content size
 *              | blocks | u32 LE low half of XXH64 of the content
 *     block    u24 LE: 0 last, 2-1 type (raw, run, compressed), 23-3 size | its bytes
 *     skipped  u32 LE 184d2a50 to 184d2a5f | u32 LE size | its bytes
 */

import { xxh64 } from "@torus/kernels";
import { MOST_BLOCK, ZstdBlocks } from "./block.ts";
import { ZstdFrameError, ZstdTooLargeError } from "./errors.ts";
import { Output } from "./output.ts";

const MAGIC = 0xfd2fb528;
const SKIPPED_MAGIC = 0x184d2a50;
/** The largest window that zstd itself takes unless it is told otherwise. */
const MOST_WINDOW = 128 << 20;

/**
 * All frames in `input`, decoded into memory of the caller's own.
 *
 * @param maxLength The most decoded bytes taken; what is claimed is checked before anything is decoded.
 * @throws {ZstdTooLargeError} when the frames claim or give more.
 * @throws {ZstdFrameError} when they are malformed.
 */
export function zstdDecode(input: Uint8Array, maxLength: number): Uint8Array {
  const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
  const out = new Output(maxLength);
  let at = 0;
  do {
    if (at + 4 > input.length) throw new ZstdFrameError("no header");
    const magic = view.getUint32(at, true);
    if ((magic & 0xfffffff0) >>> 0 === SKIPPED_MAGIC) {
      if (at + 8 > input.length) throw new ZstdFrameError("the header is cut off");
      at += 8 + view.getUint32(at + 4, true);
      if (at > input.length) throw new ZstdFrameError("cut off");
    } else if (magic === MAGIC) at = decodeFrame(input, view, at, out);
    else throw new ZstdFrameError("no header");
  } while (at < input.length);
  return out.finish();
}

function decodeFrame(input: Uint8Array, view: DataView, from: number, out: Output): number {
  const { windowSize, contentSize, hasChecksum, end } = readHeader(input, from);
  if (contentSize !== null) out.claim(contentSize);
  if (windowSize > MOST_WINDOW) throw new ZstdTooLargeError(windowSize, MOST_WINDOW);
  const start = out.length;
  const mostBlock = Math.min(windowSize, MOST_BLOCK);
  const blocks = new ZstdBlocks(input, out, windowSize, mostBlock);
  let at = end;
  for (let last = false; !last; ) {
    if (at + 3 > input.length) throw new ZstdFrameError("cut off");
    const header = view.getUint16(at, true) | ((input[at + 2] as number) << 16);
    at += 3;
    last = (header & 1) !== 0;
    const size = header >>> 3;
    const type = (header >>> 1) & 3;
    if (type === 3) throw new ZstdFrameError("a block of no type");
    const length = type === 1 ? 1 : size;
    if (at + length > input.length) throw new ZstdFrameError("cut off");
    if (size > mostBlock) throw new ZstdFrameError(`a block of ${size} bytes`);
    if (type === 0) out.copy(input, at, size);
    else if (type === 1) out.fill(input[at] as number, size);
    else blocks.decode(at, at + size);
    at += length;
  }
  const length = out.length - start;
  if (contentSize !== null && length !== contentSize) {
    throw new ZstdFrameError(`${length} bytes where the header says ${contentSize}`);
  }
  if (!hasChecksum) return at;
  if (at + 4 > input.length) throw new ZstdFrameError("cut off");
  const sum = Number(xxh64(out.bytes.subarray(start, out.length)) & 0xffffffffn);
  if (sum !== view.getUint32(at, true)) throw new ZstdFrameError("the checksum differs");
  return at + 4;
}

type Header = {
  windowSize: number;
  contentSize: number | null;
  hasChecksum: boolean;
  end: number;
};

function readHeader(input: Uint8Array, from: number): Header {
  let at = from + 4;
  const flags = input[at++];
  if (flags === undefined) throw new ZstdFrameError("the header is cut off");
  if ((flags & 8) !== 0) throw new ZstdFrameError("a reserved flag is set");
  const isSingle = (flags & 0x20) !== 0;
  let windowSize = 0;
  if (!isSingle) {
    const descriptor = input[at++] ?? 0;
    const base = 2 ** (10 + (descriptor >>> 3));
    windowSize = base + (base / 8) * (descriptor & 7);
  }
  const idBytes = [0, 1, 2, 4][flags & 3] as number;
  const sizeBytes = [isSingle ? 1 : 0, 2, 4, 8][flags >>> 6] as number;
  if (at + idBytes + sizeBytes > input.length) throw new ZstdFrameError("the header is cut off");
  for (let i = 0; i < idBytes; i++) {
    if (input[at++] !== 0) throw new ZstdFrameError("it needs a dictionary");
  }
  let contentSize: number | null = null;
  if (sizeBytes > 0) {
    contentSize = 0;
    for (let i = sizeBytes - 1; i >= 0; i--) {
      contentSize = contentSize * 256 + (input[at + i] as number);
    }
    // Two bytes count from 256, as less fits one.
    if (sizeBytes === 2) contentSize += 256;
    at += sizeBytes;
  }
  if (isSingle) windowSize = contentSize ?? 0;
  return { windowSize, contentSize, hasChecksum: (flags & 4) !== 0, end: at };
}
