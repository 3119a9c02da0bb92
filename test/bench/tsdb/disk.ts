/** Bytes of a block of ours against those that promtool writes of the same samples. */

import { spawnSync } from "node:child_process";
import { readdirSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { snappyEncode } from "@torus/kernels";
import { type Labels, labelValue } from "@torus/model";
import { encodeWriteRequest } from "@torus/protocol";
import { Population, seriesLabels } from "../load/population.ts";
import type { Row } from "./report.ts";
import { appendBody, openStore, scratchDirectory } from "./store.ts";

const SERIES = 2000;
const STEP_MS = 15_000;
const BLOCK_MS = 7_200_000;
const ROUNDS = BLOCK_MS / STEP_MS;

export async function disk(): Promise<Row[]> {
  const { dir, remove } = scratchDirectory();
  try {
    const start = Math.floor(Date.now() / BLOCK_MS) * BLOCK_MS - 2 * BLOCK_MS;
    const population = new Population(SERIES);
    const labels = Array.from({ length: SERIES }, (_, i) => seriesLabels(i));
    const values = Array.from({ length: ROUNDS + 1 }, (_, round) =>
      labels.map((_each, i) => population.next(i, round, STEP_MS / 1000)),
    );
    const db = await openStore(path.join(dir, "ours"));
    const append = (round: number, time: number) => {
      const request = labels.map((each, i) => ({
        labels: each,
        timestamps: Float64Array.of(time),
        values: Float64Array.of(values[round]?.[i] ?? 0),
      }));
      appendBody(db, snappyEncode(encodeWriteRequest(request)));
    };
    for (let round = 0; round < ROUNDS; round++) append(round, start + round * STEP_MS);
    // The cut is due when the head spans one and a half blocks.
    append(ROUNDS, start + 1.6 * BLOCK_MS);
    const blocks = await db.compactHead();
    await db.close();
    if (blocks.length !== 1) throw new Error(`${blocks.length} blocks were cut`);
    const ours = blockBytes(path.join(dir, "ours"));
    const rows: Row[] = [
      ["series x samples each", `${SERIES} x ${ROUNDS}`, ""],
      ["ours, bytes a sample: chunks and index", ours / (SERIES * ROUNDS), ""],
    ];
    const text = path.join(dir, "all.txt");
    writeFileSync(text, openMetrics(labels, values, start));
    const output = path.join(dir, "promtool");
    const args = ["tsdb", "create-blocks-from", "openmetrics", text, output];
    const made = spawnSync("promtool", args, { encoding: "utf8" });
    if (made.error !== undefined) rows.push(["promtool", "not installed", ""]);
    else if (made.status !== 0) throw new Error(made.stderr);
    else {
      const theirs = blockBytes(output);
      rows.push(["promtool's, bytes a sample", theirs / (SERIES * ROUNDS), ""]);
      rows.push(["ours / promtool's", ours / theirs, "<= 1"]);
    }
    return rows;
  } finally {
    remove();
  }
}

function openMetrics(
  labels: readonly Labels[],
  values: readonly (readonly number[])[],
  start: number,
): string {
  const byName = new Map<string, number[]>();
  for (const [i, each] of labels.entries()) {
    const name = labelValue(each, "__name__");
    const list = byName.get(name);
    if (list === undefined) byName.set(name, [i]);
    else list.push(i);
  }
  const lines: string[] = [];
  for (const [name, series] of byName) {
    lines.push(`# TYPE ${name} unknown`);
    for (const i of series) {
      const each = labels[i] as Labels;
      const pairs: string[] = [];
      for (let l = 0; l < each.length; l += 2) {
        if (each[l] !== "__name__") pairs.push(`${each[l]}="${each[l + 1]}"`);
      }
      for (let round = 0; round < ROUNDS; round++) {
        const seconds = (start + round * STEP_MS) / 1000;
        lines.push(`${name}{${pairs.join(",")}} ${values[round]?.[i]} ${seconds}`);
      }
    }
  }
  lines.push("# EOF", "");
  return lines.join("\n");
}

/** Chunks and index of all blocks of a directory. */
function blockBytes(dir: string): number {
  let bytes = 0;
  for (const name of readdirSync(dir)) {
    const chunks = path.join(dir, name, "chunks");
    if (name.length !== 26) continue;
    bytes += statSync(path.join(dir, name, "index")).size;
    for (const file of readdirSync(chunks)) bytes += statSync(path.join(chunks, file)).size;
  }
  return bytes;
}
