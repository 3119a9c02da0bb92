import { ByteWriter } from "@torus/encoding";
import { labelsFromObject } from "@torus/model";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LabelTable } from "./label-table.ts";
import { writeLabels } from "./labels.ts";
import { MessageMalformedError } from "./wire.ts";

const anyLabels = fc.dictionary(fc.string({ minLength: 1 }), fc.string({ minLength: 1 }));

function fields(labels: readonly string[]): Uint8Array {
  const out = new ByteWriter(64);
  writeLabels(out, 1, labels);
  return out.copy();
}

test("a label set that comes again is the same array, whatever lies around its bytes", () => {
  const table = new LabelTable(1 << 20);
  fc.assert(
    fc.property(fc.array(anyLabels), (sets) => {
      for (const set of sets) {
        const labels = labelsFromObject(set);
        const bytes = fields(labels);
        const found = table.find(bytes, 0, bytes.length);
        expect(found).toEqual(labels);
        const within = Buffer.concat([Buffer.from("before"), bytes, Buffer.from("behind")]);
        expect(table.find(within, 6, 6 + bytes.length)).toBe(found);
      }
    }),
  );
});

test("what is asked for again stays, the rest goes: the table does not grow past its bound", () => {
  const table = new LabelTable(100_000);
  const kept = fields(["__name__", "up", "job", "kept"]);
  const first = table.find(kept, 0, kept.length);
  const gone = fields(["__name__", "up", "job", "gone"]);
  const before = table.find(gone, 0, gone.length);
  for (let i = 0; i < 1000; i++) {
    const bytes = fields(["__name__", "up", "job", `job-${i}`]);
    table.find(bytes, 0, bytes.length);
    expect(table.find(kept, 0, kept.length)).toBe(first);
  }
  expect(table.find(gone, 0, gone.length)).not.toBe(before);
});

test("bytes that are no labels are an error, and again when they come again", () => {
  const table = new LabelTable(1 << 20);
  const torn = Uint8Array.of(0x0a, 5, 0x0a, 1);
  for (let i = 0; i < 2; i++) {
    expect(() => table.find(torn, 0, torn.length)).toThrow(MessageMalformedError);
  }
});
