/**
 * The file operations of the storage: all that a data directory is made of goes through these, so that tests put
 * a disk in their place that is full, that fails, or on which the process dies. Each is one system call, but `remove`,
 * `readWhole` and `writeWhole`.
 *
 * As in the system itself a write may take fewer bytes than it was given: `writeFully` goes on behind them.
 */

import * as fs from "node:fs";

export type FileOperations = {
  /** Flags as in fopen(3), with `x` for a file that must not exist yet. */
  open(path: string, flags: "r" | "r+" | "wx" | "ax"): number;
  close(fd: number): void;
  /** @returns Bytes read, fewer than asked for only at the file's end. */
  read(fd: number, to: Uint8Array, offset: number, length: number, position: number): number;
  /** @param position null for the file's own position. @returns Bytes written, which may be fewer. */
  write(
    fd: number,
    from: Uint8Array,
    offset: number,
    length: number,
    position: number | null,
  ): number;
  fsync(fd: number): void;
  /** The same in another thread; `done` is called in a later turn. */
  fsyncLater(fd: number, done: (error: Error | null) => void): void;
  truncate(fd: number, length: number): void;
  rename(from: string, to: string): void;
  unlink(path: string): void;
  /** Another name of a file; there must be none of this name. */
  link(file: string, name: string): void;
  /** With those above it; one that exists is no error. */
  makeDirectory(path: string): void;
  /** With all that is in it; one that does not exist is no error. */
  remove(path: string): void;
  readWhole(path: string): Uint8Array;
};

/** Of the process. A test that replaces members of it puts them back. */
export const files: FileOperations = {
  open: (path, flags) => fs.openSync(path, flags),
  close: (fd) => fs.closeSync(fd),
  read: (fd, to, offset, length, position) => fs.readSync(fd, to, offset, length, position),
  write: (fd, from, offset, length, position) => fs.writeSync(fd, from, offset, length, position),
  fsync: (fd) => fs.fsyncSync(fd),
  fsyncLater: (fd, done) => fs.fsync(fd, done),
  truncate: (fd, length) => fs.ftruncateSync(fd, length),
  rename: (from, to) => fs.renameSync(from, to),
  unlink: (path) => fs.unlinkSync(path),
  link: (file, name) => fs.linkSync(file, name),
  makeDirectory: (path) => {
    fs.mkdirSync(path, { recursive: true });
  },
  remove: (path) => fs.rmSync(path, { recursive: true, force: true }),
  readWhole: (path) => fs.readFileSync(path),
};

/** Writes all of the bytes. @param position null for the file's own position. */
export function writeFully(fd: number, bytes: Uint8Array, position: number | null): void {
  let done = 0;
  while (done < bytes.length) {
    const at = position === null ? null : position + done;
    done += files.write(fd, bytes, done, bytes.length - done, at);
  }
}

/** A file with these bytes, synced to disk. @param path Of a file that does not exist yet. */
export function writeWhole(path: string, bytes: Uint8Array): void {
  const fd = files.open(path, "wx");
  try {
    writeFully(fd, bytes, null);
    files.fsync(fd);
  } finally {
    files.close(fd);
  }
}

/** Removes what an error left unfinished. What cannot be removed goes at the next start. */
export function removeUnfinished(path: string): void {
  try {
    files.remove(path);
  } catch {
    // The error that led here tells more.
  }
}

/** Makes what was created, renamed or deleted in a directory last. */
export function syncDirectory(dir: string): void {
  const fd = files.open(dir, "r");
  try {
    files.fsync(fd);
  } finally {
    files.close(fd);
  }
}
