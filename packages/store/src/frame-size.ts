/** How many series a message of a Series answer holds. */

/**
 * Metadata of a call: messages are to hold about so many bytes. StoreAPI's own
 * `response_batch_size` counts series, which are of any size.
 */
export const FRAME_BYTES_HEADER = "torus-frame-bytes";

/** A message holds no more than this, but for a series that is larger. */
const MOST_BYTES = 1 << 20;

/** Of small series no more than this, which the reader holds as objects. */
const MOST_SERIES = 1024;

export type FrameSize = { series: number; bytes: number };

export function frameSize(header: string | undefined, responseBatchSize: number): FrameSize {
  const wanted = header === undefined ? Number.NaN : Number(header);
  if (!Number.isInteger(wanted) || wanted < 1) {
    return { series: responseBatchSize, bytes: MOST_BYTES };
  }
  return { series: MOST_SERIES, bytes: Math.min(wanted, MOST_BYTES) };
}
