export type { Bucket, BucketCall, ObjectAttributes } from "./bucket.ts";
export { ObjectNotFoundError } from "./bucket.ts";
