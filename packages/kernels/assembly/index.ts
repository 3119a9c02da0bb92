// What the loader sees; src/load.ts types these names.
export { alloc, arenaBytesFree, arenaBytesInUse, free, roundedSize } from "./arena";
export { crc32c } from "./crc32c";
export { snappyDecode, snappyDecodedLength, snappyEncode, snappyHeaderLength, snappyMaxEncodedLength } from "./snappy";
export { walkErrorAt, walkPosition, walkRequest } from "./walk";
export { xxh64 } from "./xxh64";
