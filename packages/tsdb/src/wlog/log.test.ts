import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { readLog, repairLog } from "./reader.ts";
import { type Compression, listSegments, PAGE_SIZE, segmentPath } from "./segment.ts";
import { LogWriter, RecordTooLargeError } from "./writer.ts";

const records = fc.array(
  fc
    .tuple(
      fc.oneof(fc.nat(64), fc.nat(70_000), fc.constant(PAGE_SIZE - 7)),
      fc.nat(255),
      fc.boolean(),
    )
    .map(([length, seed, random]) =>
      Uint8Array.from({ length }, (_, i) =>
        random ? Math.imul(i + seed, 2654435761) >>> 13 : seed,
      ),
    ),
  { maxLength: 12 },
);

/** Stands for a record's bytes where comparing them one by one would take its time. */
function digest(record: Uint8Array): string {
  return createHash("md5").update(record).digest("hex");
}

function withDir(run: (dir: string) => void): void {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-wlog-"));
  try {
    run(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function readAll(dir: string) {
  const out: string[] = [];
  const damage = readLog(dir, 0, Number.MAX_SAFE_INTEGER, (record) => out.push(digest(record)));
  return { out, damage };
}

test("what was logged is read back, over pages and segments", () =>
  fc.assert(
    fc.property(records, fc.constantFrom<Compression>("none", "snappy"), (batch, compression) =>
      withDir((dir) => {
        const writer = new LogWriter(dir, { compression, segmentSize: 4 * PAGE_SIZE });
        for (let i = 0; i < batch.length; i += 3) writer.log(batch.slice(i, i + 3));
        const { out, damage } = readAll(dir);
        expect(damage).toBeNull();
        expect(out).toEqual(batch.map(digest));
        writer.close();
        expect(readAll(dir).out).toEqual(out);
        for (const n of listSegments(dir)) {
          expect(readFileSync(segmentPath(dir, n)).length % PAGE_SIZE).toBe(0);
        }
      }),
    ),
    { numRuns: 60 },
  ));

test("a log cut anywhere gives the records before the cut, and is whole again after repair", () =>
  fc.assert(
    fc.property(records, fc.nat(), (batch, cut) =>
      withDir((dir) => {
        fc.pre(batch.some((record) => record.length > 0));
        const writer = new LogWriter(dir, { compression: "snappy" });
        const ends: number[] = [];
        for (const record of batch) {
          writer.log([record]);
          ends.push(writer.offset);
        }
        const at = cut % writer.offset;
        truncateSync(segmentPath(dir, 0), at);
        const whole = ends.filter((end) => end <= at).length;
        const { out, damage } = readAll(dir);
        expect(out).toEqual(batch.slice(0, whole).map(digest));
        if (damage === null) return;
        expect(damage.torn).toBe(true);
        repairLog(dir, damage);
        expect(readAll(dir)).toEqual({ out, damage: null });
      }),
    ),
    { numRuns: 60 },
  ));

test("a flipped byte is noticed, and the log goes on behind the repair", () =>
  withDir((dir) => {
    const writer = new LogWriter(dir, { compression: "none" });
    for (let i = 0; i < 5; i++) writer.log([new Uint8Array(100).fill(i + 1)]);
    writer.close();
    const bytes = readFileSync(segmentPath(dir, 0));
    bytes[107 * 2 + 50] = 77;
    writeFileSync(segmentPath(dir, 0), bytes);
    const { out, damage } = readAll(dir);
    expect(out).toHaveLength(2);
    expect(damage).toMatchObject({ segment: 0, offset: 214, torn: false });
    if (damage !== null) repairLog(dir, damage);
    const again = new LogWriter(dir, { compression: "none" });
    again.log([Uint8Array.of(9)]);
    expect(readAll(dir).out).toEqual(
      [new Uint8Array(100).fill(1), new Uint8Array(100).fill(2), Uint8Array.of(9)].map(digest),
    );
    expect(readAll(dir).damage).toBeNull();
  }));

test("a record larger than a segment is refused, and truncation leaves the current segment", () =>
  withDir((dir) => {
    const writer = new LogWriter(dir, { compression: "none", segmentSize: PAGE_SIZE });
    expect(() => writer.log([new Uint8Array(PAGE_SIZE)])).toThrow(RecordTooLargeError);
    for (let i = 0; i < 4; i++) writer.log([new Uint8Array(20_000).fill(i)]);
    expect(listSegments(dir)).toEqual([0, 1, 2, 3]);
    writer.truncate(99);
    expect(listSegments(dir)).toEqual([3]);
    writer.close();
  }));

test("a record that begins where a page has room for a part's header alone is read back", () =>
  withDir((dir) => {
    for (const free of [6, 7, 8]) {
      const log = path.join(dir, String(free));
      const writer = new LogWriter(log, { compression: "none" });
      // The header of the first record's only part takes seven bytes as well.
      const written = [PAGE_SIZE - 7 - free, 100].map((length) => new Uint8Array(length).fill(1));
      writer.log(written);
      writer.close();
      const { out, damage } = readAll(log);
      expect(out).toEqual(written.map(digest));
      expect(damage).toBeNull();
    }
  }));

test("records that lie over the pieces in which a segment is read are read back", () =>
  withDir((dir) => {
    const writer = new LogWriter(dir, { compression: "none", segmentSize: 256 * PAGE_SIZE });
    const batch = Array.from({ length: 40 }, (_, seed) =>
      Uint8Array.from({ length: 150_000 }, (_, i) => Math.imul(i + seed, 2654435761) >>> 13),
    );
    for (const record of batch) writer.log([record]);
    writer.close();
    expect(listSegments(dir).length).toBe(1);
    const { out, damage } = readAll(dir);
    expect(damage).toBeNull();
    expect(out).toEqual(batch.map(digest));
  }));
