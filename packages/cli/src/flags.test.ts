import { expect, expectTypeOf, test } from "vitest";
import { FlagError, flag, flagGroup, nearest, parseFlags } from "./flags.ts";

const specs = {
  "receive.local-endpoint": flag.string("Own address.", { default: "" }),
  "receive.hashrings-algorithm": flag.choice("Algorithm.", ["hashmod", "ketama"], {
    default: "hashmod",
  }),
  ...flagGroup("Storage", {
    "tsdb.path": flag.strings("Directory."),
    "tsdb.retention": flag.duration("Kept locally.", { default: "15d" }),
    "cache-size": flag.bytes("Cache.", { default: "250MB" }),
  }),
  dedup: flag.boolean("Deduplicate.", { default: true }),
  concurrency: flag.integer("At once.", { default: "20" }),
  label: flag.labels("External label."),
};

test("an empty command line gives every default", () => {
  expect(parseFlags(specs, []).config).toStrictEqual({
    "receive.local-endpoint": "",
    "receive.hashrings-algorithm": "hashmod",
    "tsdb.path": [],
    "tsdb.retention": 15 * 86_400_000,
    "cache-size": 250 * 1024 * 1024,
    dedup: true,
    concurrency: 20,
    label: [],
  });
});

test("the config's type follows from the flags", () => {
  const { config } = parseFlags(specs, []);
  expectTypeOf(config["receive.hashrings-algorithm"]).toEqualTypeOf<"hashmod" | "ketama">();
  expectTypeOf(config["tsdb.path"]).toEqualTypeOf<readonly string[]>();
  expectTypeOf(config["tsdb.retention"]).toEqualTypeOf<number>();
  expectTypeOf(config.dedup).toEqualTypeOf<boolean>();
});

test("values come after = or as the next word, lists keep their order, -- ends the flags", () => {
  const { config, args } = parseFlags(specs, [
    "--tsdb.path=a=b",
    "--tsdb.path",
    "c",
    "first",
    "--no-dedup",
    "--label",
    'replica="a"',
    "--",
    "--not-a-flag",
  ]);
  expect(config["tsdb.path"]).toStrictEqual(["a=b", "c"]);
  expect(config.dedup).toBe(false);
  expect(config.label).toStrictEqual([["replica", "a"]]);
  expect(args).toStrictEqual(["first", "--not-a-flag"]);
});

test.each<[argv: string[], message: string]>([
  [
    ["--recieve.local-endpoint=x"],
    "unknown long flag '--recieve.local-endpoint', did you mean '--receive.local-endpoint'?",
  ],
  [["--completely-different"], "unknown long flag '--completely-different'"],
  [["--constructor=x"], "unknown long flag '--constructor'"],
  [["-x"], "unknown short flag '-x'"],
  [["--concurrency"], "expected argument for flag '--concurrency'"],
  [["--concurrency=ten"], `flag '--concurrency': not a whole number: "ten"`],
  [["--tsdb.retention=1x"], `flag '--tsdb.retention': not a valid duration string: "1x"`],
  [["--cache-size=1QB"], `flag '--cache-size': not a valid size: "1QB"`],
  [["--concurrency=1", "--concurrency=2"], "flag 'concurrency' cannot be repeated"],
  [["--dedup=maybe"], "flag '--dedup' takes true or false, got 'maybe'"],
  [
    ["--receive.hashrings-algorithm=md5"],
    "flag '--receive.hashrings-algorithm': must be one of hashmod, ketama, got 'md5'",
  ],
  [["--label=a"], `flag '--label': not a label, want name="value": a`],
  [["--label=a=1", "--label=a=2"], "flag '--label': label a is given twice"],
])("%j is refused", (argv, message) => {
  expect(() => parseFlags(specs, argv)).toThrow(new FlagError(message));
});

test("required flags are asked for by name, all at once", () => {
  const required = { a: flag.required("A."), b: flag.requiredList("B.") };
  expect(() => parseFlags(required, [])).toThrow("required flag(s) '--a', '--b' not provided");
  expect(parseFlags(required, ["--a=", "--b=1"]).config).toStrictEqual({ a: "", b: ["1"] });
});

test.each([
  ["0", 0],
  ["1h30m", 5_400_000],
  ["0.5s", 500],
  ["2w", 1_209_600_000],
])("%s is %d ms", (text, ms) => {
  const { config } = parseFlags({ d: flag.duration("", { default: "0" }) }, [`--d=${text}`]);
  expect(config.d).toBe(ms);
});

test.each([
  ["512", 512],
  ["1KB", 1024],
  ["1.5GiB", 1.5 * 1024 ** 3],
])("%s is %d bytes", (text, bytes) => {
  const { config } = parseFlags({ b: flag.bytes("", { default: "0" }) }, [`--b=${text}`]);
  expect(config.b).toBe(bytes);
});

test("a swap of letters is one edit, and a stranger has no nearest", () => {
  expect(nearest("stroe", ["store", "receive"])).toBe("store");
  expect(nearest("xyzzy", ["store", "receive"])).toBeUndefined();
});
