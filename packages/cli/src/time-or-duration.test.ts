import { expect, test } from "vitest";
import { FlagValueError } from "./flag-values.ts";
import { parseTimeOrDuration } from "./time-or-duration.ts";

const NOW = Date.UTC(2026, 0, 10);

test.each<[text: string, time: number]>([
  ["0000-01-01T00:00:00Z", -62167219200000],
  ["9999-12-31T23:59:59Z", 253402300799000],
  ["2026-01-02T03:04:05+01:00", Date.UTC(2026, 0, 2, 2, 4, 5)],
  ["-1d", NOW - 86_400_000],
  ["2h45m", NOW + 9_900_000],
  ["0", NOW],
])("%s is a time", (text, time) => {
  expect(parseTimeOrDuration(text)(NOW)).toBe(time);
});

test.each(["", "yesterday", "2026-01-02", "2026-13-02T03:04:05Z", "1x"])(
  "%j is refused",
  (text) => {
    expect(() => parseTimeOrDuration(text)).toThrow(FlagValueError);
  },
);
