/**
 * Histograms of a finer schema than 8, of which newer programs write some: as many buckets as a power of two become one.
 * Bucket i of schema s is in bucket ceil(i / 2^(s - 8)) of schema 8.
 */

import { type BucketSpan, CUSTOM_BUCKETS_SCHEMA } from "@torus/model";
import { bucketIndexes } from "./histogram-layout.ts";
import { bitsOf, doubleOf } from "./samples.ts";
import { bucketsOf, type StoredHistogram } from "./stored-histogram.ts";

const COARSEST = -4;
const FINEST = 8;
/** The finest that anybody reserves; beyond is not a schema of exponential buckets. */
const FINEST_RESERVED = 52;

/** The histogram in a schema that is known, or null where there is none or its buckets are not as many as its spans say. */
export function inKnownSchema(histogram: StoredHistogram): StoredHistogram | null {
  const { layout, positive, negative, float } = histogram;
  const { schema, positiveSpans, negativeSpans } = layout;
  if (bucketsOf(positiveSpans) !== positive.length) return null;
  if (bucketsOf(negativeSpans) !== negative.length) return null;
  if (schema === CUSTOM_BUCKETS_SCHEMA) return histogram;
  if (schema < COARSEST || schema > FINEST_RESERVED) return null;
  if (schema <= FINEST) return histogram;
  const factor = 2 ** (schema - FINEST);
  const positives = reduced(positiveSpans, positive, factor, float);
  const negatives = reduced(negativeSpans, negative, factor, float);
  return {
    ...histogram,
    layout: {
      ...layout,
      schema: FINEST,
      positiveSpans: positives.spans,
      negativeSpans: negatives.spans,
    },
    positive: positives.buckets,
    negative: negatives.buckets,
  };
}

function reduced(
  spans: readonly BucketSpan[],
  buckets: BigInt64Array,
  factor: number,
  float: boolean,
): { spans: BucketSpan[]; buckets: BigInt64Array } {
  const counts = new Map<number, bigint | number>();
  let absolute = 0n;
  for (const [i, index] of bucketIndexes(spans).entries()) {
    const bucket = buckets[i] as bigint;
    absolute += bucket;
    const target = Math.ceil(index / factor);
    const before = counts.get(target);
    if (float) {
      counts.set(target, Number(before ?? 0) + doubleOf(BigInt.asUintN(64, bucket)));
    } else counts.set(target, BigInt(before ?? 0n) + absolute);
  }
  const out: BucketSpan[] = [];
  const values = new BigInt64Array(counts.size);
  let next = 0;
  let last = 0n;
  for (const [i, [index, count]] of [...counts].sort(([a], [b]) => a - b).entries()) {
    const span = out.at(-1);
    if (span !== undefined && index === next) span.length++;
    else out.push({ offset: index - next, length: 1 });
    next = index + 1;
    if (typeof count === "number") values[i] = bitsOf(count);
    else {
      values[i] = count - last;
      last = count;
    }
  }
  return { spans: out, buckets: values };
}
