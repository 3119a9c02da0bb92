import { WriteRequestBuffer } from "@torus/kernels";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Head } from "./head.ts";

const START = 1_700_000_000_000;
const LIMIT = 3;

const field = (number: number, body: readonly number[]): number[] => {
  if (body.length > 127)
    return [number * 8 + 2, (body.length & 127) | 128, body.length >> 7, ...body];
  return [number * 8 + 2, body.length, ...body];
};
const label = (name: string, value: string) =>
  field(1, [...field(1, [...Buffer.from(name)]), ...field(2, [...Buffer.from(value)])]);
/** The value 1 at START. */
const SAMPLE = field(2, [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 16, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);

/** @param early The sample stands before the labels, as nobody sends it. */
function seriesBytes(metric: string, i: number, early: boolean): number[] {
  const labels = [...label("__name__", metric), ...label("i", String(i))];
  return field(1, early ? [...SAMPLE, ...labels] : [...labels, ...SAMPLE]);
}

function append(head: Head, body: readonly number[], chosen: Uint32Array | null): Uint32Array {
  const request = WriteRequestBuffer.acquire();
  try {
    request.reserve(body.length).set(body);
    request.useRaw(body.length);
    request.walk(null);
    return head.append(request, chosen).byVerdict;
  } finally {
    request.release();
  }
}

const requests = fc.array(
  fc.array(fc.tuple(fc.constantFrom("a", "b", "c"), fc.nat(6), fc.boolean()), { maxLength: 12 }),
  { maxLength: 8 },
);

test("a metric's first series are taken, as many as the limit says, and go on; later ones are refused", () =>
  fc.assert(
    fc.property(requests, fc.boolean(), (all, choose) => {
      const head = new Head(
        { log: () => undefined },
        { log: () => undefined },
        {
          chunkRangeMs: 7_200_000,
          seriesLimit: 0,
          outOfOrderWindowMs: 0,
          maxExemplars: 0,
          now: () => START,
        },
      );
      try {
        head.setMetricLimit(LIMIT);
        const held = new Map<string, Set<number>>();
        for (const request of all) {
          let refused = 0;
          for (const [metric, i] of request) {
            const series = held.get(metric) ?? new Set<number>();
            held.set(metric, series);
            if (series.has(i) || series.size < LIMIT) series.add(i);
            else refused++;
          }
          const body = request.flatMap((each) => seriesBytes(...each));
          const chosen = choose ? Uint32Array.from(request, (_, i) => i) : null;
          const verdicts = append(head, body, chosen);
          // The seventh is the limit's; nothing else is wrong with these samples.
          expect(verdicts[7]).toBe(refused);
          expect(verdicts.reduce((sum, each) => sum + each)).toBe(request.length);
        }
        const expected = [...held.values()].reduce((sum, { size }) => sum + size, 0);
        expect(head.seriesCount).toBe(expected);
      } finally {
        head.close();
      }
    }),
    { numRuns: 200, seed: 1 },
  ));
