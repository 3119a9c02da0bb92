/**
 * `thanos.shipper.json` beside the blocks: the ULIDs that are in the bucket and still on this disk,
 * `{"version": 1, "uploaded": [...]}`, tab-indented (Thanos, docs/storage.md). Retention asks it before it deletes.
 * It is a cache of what the bucket knows: when it is missing or unreadable the bucket is asked again.
 */

import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { goJson } from "@torus/block";
import { isUlid } from "@torus/model";
import { replaceFile } from "./external-labels.ts";

export const SHIPPER_FILE = "thanos.shipper.json";

/**
 * The shipped blocks by the file of a TSDB directory; empty when the file is missing or unreadable.
 * For whoever deletes blocks while another process uploads them: a ULID that is not in here must stay.
 */
export function readShipped(tsdbDir: string): Set<string> {
  try {
    const value: unknown = JSON.parse(readFileSync(path.join(tsdbDir, SHIPPER_FILE), "utf8"));
    const { version, uploaded } = (value ?? {}) as Record<string, unknown>;
    if (version !== 1 || !Array.isArray(uploaded)) return new Set();
    return new Set(
      uploaded.filter((ulid): ulid is string => typeof ulid === "string" && isUlid(ulid)),
    );
  } catch {
    return new Set();
  }
}

/**
 * True when a shipper works on this directory or ever did: it leaves its file at its first look, before any block.
 * Then a block that `readShipped` does not list must stay, also when the list is empty or unreadable.
 */
export function hasShipper(tsdbDir: string): boolean {
  return existsSync(path.join(tsdbDir, SHIPPER_FILE));
}

export async function writeShipped(tsdbDir: string, uploaded: readonly string[]): Promise<void> {
  // Go writes a list that was never filled as null, and reads both.
  const body = goJson({ version: 1, uploaded: uploaded.length === 0 ? null : uploaded }, "\t");
  await replaceFile(path.join(tsdbDir, SHIPPER_FILE), `${body}\n`);
}
