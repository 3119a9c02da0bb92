export { crc32c, snappyDecode, snappyEncode, xxh64 } from "@torus/kernels";
export { BitReader, BitWriter, ChunkTruncatedError } from "./bits.ts";
export { ByteReader, decodeUtf8, TruncatedError, VarintOverflowError } from "./reader.ts";
export { decodeSnappyFrames, encodeSnappyFrames, SnappyFrameError } from "./snappy-frames.ts";
export { ByteWriter } from "./writer.ts";
export { ZstdFrameError, ZstdTooLargeError } from "./zstd/errors.ts";
export { zstdDecode } from "./zstd/frame.ts";
