/** What can be wrong with Zstandard frames. */

/** The bytes are no Zstandard frames. */
export class ZstdFrameError extends Error {
  constructor(what: string) {
    super(`zstd frame: ${what}`);
    this.name = "ZstdFrameError";
  }
}

/** The frames claim or give more than is allowed. */
export class ZstdTooLargeError extends ZstdFrameError {
  readonly size: number;
  readonly limit: number;
  constructor(size: number, limit: number) {
    super(`${size} bytes, of which at most ${limit} are taken`);
    this.name = "ZstdTooLargeError";
    this.size = size;
    this.limit = limit;
  }
}
