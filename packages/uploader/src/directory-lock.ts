/**
 * One shipper a directory: a lock file `thanos.shipper.lock` that names its holder,
 * `{"host", "pid", "started"}`, and whose modification time the holder renews.
 *
 * A holder on this host is judged by its process: gone, or another one under the same id (its start time tells),
 * and the lock is taken over at once. Process ids of another host, or another container, mean nothing here:
 * such a lock is stale when it was not renewed for five minutes.
 */

import { randomUUID } from "node:crypto";
import {
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import path from "node:path";

export const SHIPPER_LOCK_FILE = "thanos.shipper.lock";

const STALE_AFTER_MS = 5 * 60_000;

export class DirectoryLockedError extends Error {
  readonly file: string;
  readonly holder: string;
  constructor(file: string, holder: string) {
    super(`${file} is held by ${holder}: another uploader works on this directory`);
    this.name = "DirectoryLockedError";
    this.file = file;
    this.holder = holder;
  }
}

type Holder = { host: string; pid: number; started: string };

export type DirectoryLock = {
  /** To be called at least once in a minute or two. False when another took the lock meanwhile. */
  renew(): boolean;
  release(): void;
};

/** @throws {DirectoryLockedError} */
export function lockDirectory(dir: string, now: () => number): DirectoryLock {
  const file = path.join(dir, SHIPPER_LOCK_FILE);
  const own = `${JSON.stringify(self())}\n${randomUUID()}\n`;
  const staged = `${file}.${randomUUID()}`;
  writeFileSync(staged, own, { flag: "wx" });
  try {
    for (;;) {
      try {
        // A link appears with its content, and fails when the name is taken: of two at once one wins.
        linkSync(staged, file);
        break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const held = readLock(file);
      if (held === undefined) continue;
      if (!isStale(held.text, held.renewedMs, now())) {
        throw new DirectoryLockedError(file, held.text.split("\n", 1)[0] ?? "");
      }
      removeStale(file, held.text);
    }
  } finally {
    rmSync(staged, { force: true });
  }
  const isOurs = () => readLock(file)?.text === own;
  return {
    renew() {
      if (!isOurs()) return false;
      utimesSync(file, now() / 1000, now() / 1000);
      return true;
    },
    release() {
      if (isOurs()) rmSync(file, { force: true });
    },
  };
}

/** Moved aside before it is removed, and looked at again, since another may have taken it over meanwhile. */
function removeStale(file: string, text: string): void {
  const aside = `${file}.${randomUUID()}`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (readLock(aside)?.text !== text) {
    try {
      linkSync(aside, file);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  rmSync(aside, { force: true });
}

function readLock(file: string): { text: string; renewedMs: number } | undefined {
  try {
    return { renewedMs: statSync(file).mtimeMs, text: readFileSync(file, "utf8") };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function isStale(text: string, renewedMs: number, nowMs: number): boolean {
  let holder: Partial<Holder>;
  try {
    holder = JSON.parse(text.split("\n", 1)[0] ?? "") as Partial<Holder>;
  } catch {
    return true;
  }
  if (holder.host !== hostname()) return nowMs - renewedMs > STALE_AFTER_MS;
  if (typeof holder.pid !== "number" || !isAlive(holder.pid)) return true;
  return startTime(holder.pid) !== holder.started;
}

function self(): Holder {
  return { host: hostname(), pid: process.pid, started: startTime(process.pid) };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Ticks from boot to the process' start, on Linux; elsewhere nothing, and the id alone decides. */
function startTime(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The command in the second field may hold anything, also spaces and parentheses.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}
