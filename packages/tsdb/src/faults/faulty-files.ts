/**
 * A disk for tests, in the place of the real one: operations fail or end the process where a plan says so, and do
 * otherwise what the real ones do. As in Linux, a write that fails for want of room has written what there was room
 * for, and an fsync that failed once succeeds the next time.
 */

import * as fs from "node:fs";
import path from "node:path";
import { type FileOperations, files } from "../files.ts";
import type { Action, Kind, Place, PlanMemory } from "./plan.ts";

const real: FileOperations = { ...files };

export function placeOf(file: string): Place {
  if (/\/wal\/checkpoint\./.test(file)) return "checkpoint";
  if (/\/wal(\/|$)/.test(file)) return "wal";
  if (/\/wbl(\/|$)/.test(file)) return "wbl";
  if (/tmp-for-deletion/.test(file)) return "deleted block";
  if (/head_snapshot/.test(file)) return "snapshot";
  if (/\/lock(\.\d+(\.stale)?)?$/.test(file)) return "lock";
  const block = /\/[0-9A-Z]{26}(\.tmp-for-creation)?(\/.*|$)/.exec(file);
  if (block === null) return "other";
  const inside = block[2] ?? "";
  if (inside.startsWith("/chunks")) return "block chunks";
  if (inside === "/index") return "block index";
  if (inside === "/meta.json") return "block meta";
  if (inside === "/tombstones") return "block tombstones";
  return "block directory";
}

class FaultError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  constructor(code: string, errno: number, syscall: string, file: string) {
    super(`${code}: injected, ${syscall} '${file}'`);
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
  }
}

/** Replaces the members of `files`, and returns what puts the real ones back. */
export function installFaultyFiles(plan: PlanMemory): () => void {
  const paths = new Map<number, string>();
  /** What a write that found no room has to say to the next one. */
  let owed: { fd: number; error: FaultError } | null = null;

  function die(kind: Kind, place: Place): never {
    fs.writeSync(1, `K ${plan.phase} ${kind} ${place}\n`);
    process.kill(process.pid, "SIGKILL");
    // The signal may reach another thread first.
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
  }

  function step<T>(
    kind: Kind,
    file: string,
    run: () => T,
    half: () => void = () => undefined,
    failed: () => void = () => undefined,
  ): T {
    const place = placeOf(file);
    const action: Action = plan.next(kind, place);
    if (action === "die before") die(kind, place);
    if (action === "die inside") {
      half();
      die(kind, place);
    }
    if (action === "fail" || action === "fail on") {
      failed();
      throw new FaultError(plan.code, 0, kind, file);
    }
    const result = run();
    if (action === "die after") die(kind, place);
    return result;
  }

  function removeTree(file: string): void {
    const stat = fs.lstatSync(file, { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (!stat.isDirectory()) {
      step("unlink", file, () => fs.unlinkSync(file));
      return;
    }
    for (const name of fs.readdirSync(file).sort()) removeTree(path.join(file, name));
    step("rmdir", file, () => fs.rmdirSync(file));
  }

  const nameOf = (fd: number) => paths.get(fd) ?? "";
  const faulty: FileOperations = {
    open(file, flags) {
      const fd = step(flags === "r" || flags === "r+" ? "open" : "create", file, () =>
        real.open(file, flags),
      );
      paths.set(fd, file);
      return fd;
    },
    close(fd) {
      const file = nameOf(fd);
      paths.delete(fd);
      // Linux closes the file also when it answers with an error.
      step(
        "close",
        file,
        () => real.close(fd),
        undefined,
        () => real.close(fd),
      );
    },
    read: (fd, to, offset, length, position) =>
      step("read", nameOf(fd), () => real.read(fd, to, offset, length, position)),
    write(fd, from, offset, length, position) {
      if (owed?.fd === fd) {
        const { error } = owed;
        owed = null;
        throw error;
      }
      const half = Math.floor(length / 2);
      const writeHalf = () => {
        if (half > 0) real.write(fd, from, offset, half, position);
      };
      try {
        return step(
          "write",
          nameOf(fd),
          () => real.write(fd, from, offset, length, position),
          writeHalf,
        );
      } catch (error) {
        if (!(error instanceof FaultError) || error.code !== "ENOSPC" || half === 0) throw error;
        writeHalf();
        owed = { fd, error };
        return half;
      }
    },
    fsync: (fd) => step("fsync", nameOf(fd), () => real.fsync(fd)),
    fsyncLater(fd, done) {
      try {
        step("fsync", nameOf(fd), () => undefined);
      } catch (error) {
        setImmediate(() => done(error as Error));
        return;
      }
      real.fsyncLater(fd, done);
    },
    truncate: (fd, length) => step("truncate", nameOf(fd), () => real.truncate(fd, length)),
    rename: (from, to) => step("rename", from, () => real.rename(from, to)),
    unlink: (file) => step("unlink", file, () => real.unlink(file)),
    link: (file, name) => step("create", name, () => real.link(file, name)),
    makeDirectory: (file) => step("mkdir", file, () => real.makeDirectory(file)),
    remove: removeTree,
    readWhole: (file) => step("read", file, () => real.readWhole(file)),
  };
  Object.assign(files, faulty);
  return () => {
    Object.assign(files, real);
  };
}
