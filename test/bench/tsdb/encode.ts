/**
 * XOR chunks of many live series, a sample of each in turn, as scrapes bring them: a chunk's bytes are in no cache when
 * its turn comes. No log and no look-up by labels: rows as an append prepares them (kernels/assembly/head.ts).
 */

import { kernel } from "@torus/kernels";
import { Population, seriesLabels } from "../load/population.ts";
import type { Row } from "./report.ts";

const SERIES = 100_000;
const ROUNDS = 60;
const STEP_MS = 15_000;
const LIST_BYTES = 1 << 16;
const BATCH = 2000;
const ROW_BYTES = 40;

export function encode(): Row[] {
  const k = kernel();
  const head = k.exports.headNew(7_200_000, 1, 0) >>> 0;
  const list = k.alloc(LIST_BYTES);
  const labels = k.alloc(LIST_BYTES);
  const series = new Uint32Array(SERIES);
  for (let i = 0; i < SERIES; i++) {
    const bytes = labelFields(seriesLabels(i));
    k.bytes.set(bytes, labels);
    series[i] = k.exports.headRestore(head, labels, bytes.length, i + 1, list) >>> 0;
  }
  const population = new Population(SERIES);
  const start = 1_700_000_000_000 - (1_700_000_000_000 % 7_200_000);
  const rows = k.alloc(BATCH * ROW_BYTES);
  const before = new Float64Array(SERIES);
  let nanos = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const time = BigInt(start + round * STEP_MS);
    const timeBefore = round === 0 ? 0n : time - BigInt(STEP_MS);
    for (let from = 0; from < SERIES; from += BATCH) {
      const { view } = k;
      for (let i = 0; i < BATCH; i++) {
        const row = rows + i * ROW_BYTES;
        const value = population.next(from + i, round, STEP_MS / 1000);
        view.setUint32(row, series[from + i] as number, true);
        view.setBigInt64(row + 8, time, true);
        view.setFloat64(row + 16, value, true);
        view.setBigInt64(row + 24, timeBefore, true);
        view.setFloat64(row + 32, before[from + i] as number, true);
        before[from + i] = value;
      }
      const began = process.cpuUsage();
      k.exports.headCommit(head, rows, BATCH);
      const { user, system } = process.cpuUsage(began);
      nanos += (user + system) * 1000;
    }
  }
  return [
    ["live series x samples each", `${SERIES} x ${ROUNDS}`, ""],
    ["encode, CPU ns/sample", nanos / (SERIES * ROUNDS), "<= 80"],
  ];
}

/** Canonical Label fields, as the head keeps them. @param labels Names and values shorter than 100 bytes. */
function labelFields(labels: readonly string[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    const name = Buffer.from(labels[i] as string);
    const value = Buffer.from(labels[i + 1] as string);
    const inner = [Buffer.of(0x0a, name.length), name, Buffer.of(0x12, value.length), value];
    const length = name.length + value.length + 4;
    const head = length < 0x80 ? [length] : [(length & 0x7f) | 0x80, length >> 7];
    parts.push(Buffer.of(0x0a, ...head), ...inner);
  }
  return Buffer.concat(parts);
}
