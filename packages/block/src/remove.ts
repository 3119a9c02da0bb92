/** Takes a block out of the bucket, in the order that never lets a reader see half of it as whole. */

import type { Bucket, BucketCall } from "@torus/objstore";
import { MARK_FILES } from "./marks.ts";
import { META_FILE } from "./meta.ts";

/**
 * meta.json first, so that the block is partial at once; then all else; the deletion mark last, so that a
 * deletion that was interrupted is still known as one.
 */
export async function deleteBlock(
  bucket: Bucket,
  ulid: string,
  call: BucketCall = {},
): Promise<void> {
  const meta = `${ulid}/${META_FILE}`;
  const mark = `${ulid}/${MARK_FILES.deletion}`;
  await bucket.delete(meta, call);
  for await (const name of bucket.list(`${ulid}/`, { ...call, recursive: true })) {
    if (name !== mark && name !== meta) await bucket.delete(name, call);
  }
  await bucket.delete(mark, call);
}
