/**
 * Loaded before the program (`node --import slow-disk.mjs?control=FILE torus.mjs …`): while FILE exists every write
 * and sync of a file takes as many more milliseconds as it says, in worker threads too.
 */

import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { promisify } from "node:util";

const control = new URL(import.meta.url).searchParams.get("control") ?? "";
const sleeper = new Int32Array(new SharedArrayBuffer(4));
const LOOK_EVERY_MS = 20;
let delayMs = 0;
let lookedAt = 0;

const { readFileSync } = fs;

function currentDelay() {
  const now = performance.now();
  if (now - lookedAt < LOOK_EVERY_MS) return delayMs;
  lookedAt = now;
  try {
    delayMs = Number(readFileSync(control, "utf8"));
  } catch {
    delayMs = 0;
  }
  return delayMs;
}

/** Standard output is no disk. */
const isFile = (fd) => typeof fd !== "number" || fd > 2;

for (const name of ["writeSync", "writevSync", "fsyncSync", "fdatasyncSync"]) {
  const real = fs[name];
  fs[name] = (fd, ...rest) => {
    const delay = isFile(fd) ? currentDelay() : 0;
    if (delay > 0) Atomics.wait(sleeper, 0, 0, delay);
    return real(fd, ...rest);
  };
}
for (const name of ["write", "writev", "fsync", "fdatasync"]) {
  const real = fs[name];
  const slow = (fd, ...rest) => {
    const delay = isFile(fd) ? currentDelay() : 0;
    if (delay === 0) real(fd, ...rest);
    else setTimeout(() => real(fd, ...rest), delay);
  };
  const promised = real[promisify.custom];
  if (promised !== undefined) slow[promisify.custom] = promised;
  fs[name] = slow;
}
syncBuiltinESMExports();
