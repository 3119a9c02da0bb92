/**
 * Marks: small JSON objects beside a block's files that say what is to become of it
 * (Thanos, docs/storage.md). Times are Unix seconds.
 */

import type { Bucket, BucketCall } from "@torus/objstore";
import { ObjectNotFoundError } from "@torus/objstore";
import { goJson } from "./go-json.ts";

export const MARK_FILES = {
  deletion: "deletion-mark.json",
  "no-compact": "no-compact-mark.json",
  "no-downsample": "no-downsample-mark.json",
} as const;
export type MarkKind = keyof typeof MARK_FILES;

const TIME_KEYS = {
  deletion: "deletion_time",
  "no-compact": "no_compact_time",
  "no-downsample": "no_downsample_time",
} as const;

export type Mark = {
  id: string;
  details: string;
  /** Unix seconds at which the mark was set. */
  timeSeconds: number;
  /** Why it was set; a deletion mark has none. */
  reason: string;
};

export class MarkError extends Error {
  constructor(kind: MarkKind, message: string, options?: ErrorOptions) {
    super(`${MARK_FILES[kind]}: ${message}`, options);
    this.name = "MarkError";
  }
}

export function formatMark(kind: MarkKind, mark: Mark): string {
  return goJson(
    {
      id: mark.id,
      version: 1,
      details: mark.details === "" ? undefined : mark.details,
      [TIME_KEYS[kind]]: mark.timeSeconds,
      reason: kind === "deletion" ? undefined : mark.reason,
    },
    "",
  );
}

/** @throws {MarkError} */
export function parseMark(kind: MarkKind, body: Uint8Array): Mark {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(body));
  } catch (error) {
    throw new MarkError(kind, (error as Error).message, { cause: error });
  }
  if (typeof value !== "object" || value === null) throw new MarkError(kind, "it is not an object");
  const at = value as Record<string, unknown>;
  if (at["version"] !== 1) throw new MarkError(kind, "its version is not 1");
  const { id, details = "", reason = "" } = at;
  const timeSeconds = at[TIME_KEYS[kind]];
  if (typeof id !== "string" || typeof details !== "string" || typeof reason !== "string") {
    throw new MarkError(kind, "id, details or reason is not a string");
  }
  if (typeof timeSeconds !== "number" || !Number.isSafeInteger(timeSeconds)) {
    throw new MarkError(kind, `${TIME_KEYS[kind]} is not a whole number`);
  }
  return { id, details, reason, timeSeconds };
}

/** @throws {MarkError} */
export async function readMark(
  bucket: Bucket,
  ulid: string,
  kind: MarkKind,
  call: BucketCall = {},
): Promise<Mark | undefined> {
  try {
    return parseMark(kind, await bucket.get(`${ulid}/${MARK_FILES[kind]}`, call));
  } catch (error) {
    if (error instanceof ObjectNotFoundError) return undefined;
    throw error;
  }
}

export async function writeMark(
  bucket: Bucket,
  kind: MarkKind,
  mark: Mark,
  call: BucketCall = {},
): Promise<void> {
  const body = new TextEncoder().encode(formatMark(kind, mark));
  await bucket.put(`${mark.id}/${MARK_FILES[kind]}`, body, call);
}
