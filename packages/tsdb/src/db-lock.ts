/**
 * One writer a data directory: `<dir>/lock` holds the writer's process id and start time.
 *
 * Node has no flock. A lock whose process is gone is taken over; on Linux a process that holds the file with
 * flock, as a Prometheus server does, is found in /proc/locks and respected.
 */

import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { files, removeUnfinished, writeFully } from "./files.ts";

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
  while (!createLock(file, mine)) {
    const found = readLock(file);
    if (found === null) continue;
    if (found.holder !== null) throw new DirectoryLockedError(dir, found.holder);
    removeStale(file, found.text);
  }
  heldHere.add(file);
  return () => {
    if (!heldHere.delete(file)) return;
    files.unlink(file);
  };
}

/** Makes the lock with its text in one step, so that nobody finds it empty; false when there is one. */
function createLock(file: string, text: string): boolean {
  const own = `${file}.${process.pid}`;
  // Of a process of this number that died here.
  files.remove(own);
  try {
    const fd = files.open(own, "wx");
    try {
      writeFully(fd, Buffer.from(text), null);
    } finally {
      files.close(fd);
    }
    files.link(own, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    removeUnfinished(own);
  }
}

/** Moved aside first: of two that find the same stale lock one moves it, and the other perhaps the first one's own. */
function removeStale(file: string, text: string): void {
  const aside = `${file}.${process.pid}.stale`;
  try {
    files.rename(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  try {
    if (readFileSync(aside, "utf8") !== text) files.link(aside, file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    removeUnfinished(aside);
  }
}

/** The lock's text and who holds it, null when nobody does any more; null when there is no lock. */
function readLock(file: string): { text: string; holder: string | null } | null {
  try {
    const holder = flockHolder(file);
    const text = readFileSync(file, "utf8");
    return { text, holder: holder ?? holderOf(text) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function holderOf(text: string): string | null {
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
