/**
 * One writer a data directory: `<dir>/lock` holds the writer's process id and start time.
 *
 * Node has no flock. A lock whose process is gone is taken over; on Linux a process that holds the file with
 * flock, as a Prometheus server does, is found in /proc/locks and respected.
 */

import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { files, writeFully } from "./files.ts";

/** Another process, or another Tsdb of this one, writes the directory. */
export class DirectoryLockedError extends Error {
  readonly dir: string;
  readonly holder: string;
  constructor(dir: string, holder: string) {
    super(`open ${dir}: locked by ${holder}`);
    this.name = "DirectoryLockedError";
    this.dir = dir;
    this.holder = holder;
  }
}

const heldHere = new Set<string>();

/** Takes the lock and returns what gives it back. @throws {DirectoryLockedError} */
export function lockDirectory(dir: string): () => void {
  files.makeDirectory(dir);
  const file = path.join(path.resolve(dir), "lock");
  if (heldHere.has(file)) throw new DirectoryLockedError(dir, `this process (${process.pid})`);
  const mine = `${process.pid} ${startTime(process.pid) ?? "?"}\n`;
  for (;;) {
    const fd = createExclusive(file);
    if (fd !== null) {
      try {
        writeFully(fd, Buffer.from(mine), null);
      } catch (error) {
        files.unlink(file);
        throw error;
      } finally {
        files.close(fd);
      }
      break;
    }
    const holder = holderOf(file);
    if (holder !== null) throw new DirectoryLockedError(dir, holder);
    // Moved aside first: of two that find the same stale lock, only one can move it.
    const stale = `${file}.${process.pid}`;
    try {
      files.rename(file, stale);
      files.unlink(stale);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  if (readFileSync(file, "utf8") !== mine) throw new DirectoryLockedError(dir, "another process");
  heldHere.add(file);
  return () => {
    if (!heldHere.delete(file)) return;
    files.unlink(file);
  };
}

function createExclusive(file: string): number | null {
  try {
    return files.open(file, "wx");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return null;
    throw error;
  }
}

/** Who holds the lock file, or null when nobody does any more. */
function holderOf(file: string): string | null {
  let text: string;
  try {
    const flocked = flockHolder(file);
    if (flocked !== null) return flocked;
    text = readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  const [pid, started] = text.trim().split(" ");
  const id = Number(pid);
  if (!Number.isInteger(id) || id <= 0 || id === process.pid) return null;
  const now = startTime(id);
  if (now === null) return isAlive(id) ? `process ${id}` : null;
  return now === started ? `process ${id}` : null;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** When a process began, in clock ticks since boot; null where /proc does not tell. */
function startTime(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field, the command in brackets, may hold blanks: count from behind it.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

function flockHolder(file: string): string | null {
  let locks: string;
  try {
    locks = readFileSync("/proc/locks", "utf8");
  } catch {
    return null;
  }
  const { ino } = statSync(file);
  for (const line of locks.split("\n")) {
    const fields = line.trim().split(/\s+/);
    if (fields[1] === "FLOCK" && fields[5]?.endsWith(`:${ino}`)) return `process ${fields[4]}`;
  }
  return null;
}
