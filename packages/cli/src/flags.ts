/**
 * Flags as Thanos' (kingpin) reads them: `--name=value`, `--name value`, `--no-name` for a boolean, `--` ends them.
 * A record of flags is the specification; the parsed config is a complete readonly object whose type is inferred
 * from it and whose keys are the flags' names. Defaults stand beside the flag and nowhere else.
 */

import {
  FlagValueError,
  parseBytes,
  parseDuration,
  parseInteger,
  parseLabel,
  parseNumber,
} from "./flag-values.ts";
import { parseTimeOrDuration } from "./time-or-duration.ts";

export type Flag<T> = {
  readonly help: string;
  /** What stands for the value in the help; "" for a boolean, which takes none. */
  readonly placeholder: string;
  /** The heading in the help. */
  readonly group: string;
  readonly hidden: boolean;
  readonly repeatable: boolean;
  readonly required: boolean;
  /** As the user would write it; undefined when there is none. */
  readonly defaultText: string | undefined;
  /** From what the command line gave, in order; an empty list never comes for a required flag. */
  readonly read: (given: readonly string[]) => T;
};

// `Flag<never>` would be the exact bound; `unknown` works because a Flag only ever produces its T.
export type FlagSpecs = Readonly<Record<string, Flag<unknown>>>;

export type Config<S extends FlagSpecs> = {
  readonly [Name in keyof S]: S[Name] extends Flag<infer T> ? T : never;
};

export type FlagOptions = { default: string; hidden?: boolean; placeholder?: string };
type ListOptions = { hidden?: boolean; placeholder?: string };

function single<T>(
  help: string,
  placeholder: string,
  parse: (text: string) => T,
  options: FlagOptions,
): Flag<T> {
  return {
    help,
    placeholder: options.placeholder ?? placeholder,
    group: "",
    hidden: options.hidden ?? false,
    repeatable: false,
    required: false,
    defaultText: options.default,
    read: (given) => parse(given[0] ?? options.default),
  };
}

function list<T>(
  help: string,
  placeholder: string,
  parse: (text: string) => T,
  options: ListOptions = {},
): Flag<readonly T[]> {
  return {
    help,
    placeholder: options.placeholder ?? placeholder,
    group: "",
    hidden: options.hidden ?? false,
    repeatable: true,
    required: false,
    defaultText: undefined,
    read: (given) => given.map(parse),
  };
}

/** The kinds of flags. Where `default` is asked for, it is written as a user would write it: `"15d"`. */
export const flag = {
  string: (help: string, options: FlagOptions): Flag<string> =>
    single(help, "STRING", (text) => text, options),

  /** Repeatable; no value given is an empty list. */
  strings: (help: string, options?: ListOptions): Flag<readonly string[]> =>
    list(help, "STRING", (text) => text, options),

  /** A string that must be given. */
  required: (help: string, options: ListOptions = {}): Flag<string> => ({
    ...single(help, "STRING", (text) => text, { ...options, default: "" }),
    required: true,
    defaultText: undefined,
  }),

  /** Repeatable, at least once. */
  requiredList: (help: string, options?: ListOptions): Flag<readonly string[]> => ({
    ...list(help, "STRING", (text) => text, options),
    required: true,
  }),

  /** `--name` and `--no-name`. */
  boolean: (
    help: string,
    options: { default?: boolean; hidden?: boolean } = {},
  ): Flag<boolean> => ({
    help,
    placeholder: "",
    group: "",
    hidden: options.hidden ?? false,
    repeatable: false,
    required: false,
    defaultText: String(options.default ?? false),
    read: (given) => (given[0] ?? String(options.default ?? false)) === "true",
  }),

  /** Milliseconds. */
  duration: (help: string, options: FlagOptions): Flag<number> =>
    single(help, "DURATION", parseDuration, options),

  /** A time, or a duration from the time at which it is asked for; Unix milliseconds. */
  time: (help: string, options: FlagOptions): Flag<(nowMs: number) => number> =>
    single(help, "TIME", parseTimeOrDuration, options),

  bytes: (help: string, options: FlagOptions): Flag<number> =>
    single(help, "SIZE", parseBytes, options),

  integer: (help: string, options: FlagOptions): Flag<number> =>
    single(help, "N", parseInteger, options),

  number: (help: string, options: FlagOptions): Flag<number> =>
    single(help, "NUMBER", parseNumber, options),

  choice: <const T extends string>(
    help: string,
    values: readonly T[],
    options: { default: NoInfer<T>; hidden?: boolean },
  ): Flag<T> =>
    single(
      help,
      values.filter((value) => value !== "").join("|"),
      (text) => {
        const value = values.find((each) => each === text);
        if (value !== undefined) return value;
        throw new FlagValueError(`must be one of ${values.join(", ")}, got '${text}'`);
      },
      options,
    ),

  /** `--label name="value"`, repeatable. A name given twice is an error. */
  labels: (help: string, options?: ListOptions): Flag<readonly (readonly [string, string])[]> => {
    const flags = list(help, 'name="value"', parseLabel, options);
    const read = (given: readonly string[]) => {
      const labels = flags.read(given);
      const names = new Set<string>();
      for (const [name] of labels) {
        if (names.has(name)) throw new FlagValueError(`label ${name} is given twice`);
        names.add(name);
      }
      return labels;
    };
    return { ...flags, read };
  },
};

/** The same flags under one heading of the help. */
export function flagGroup<const S extends FlagSpecs>(heading: string, flags: S): S {
  const grouped: Record<string, Flag<unknown>> = {};
  for (const [name, each] of Object.entries(flags)) grouped[name] = { ...each, group: heading };
  // Only `group` changed, which S does not speak of.
  return grouped as S;
}

/** The command line does not fit the flags. */
export class FlagError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "FlagError";
  }
}

export type ParsedFlags<S extends FlagSpecs> = {
  config: Config<S>;
  args: readonly string[];
};

/** @throws {FlagError} naming the flag. */
export function parseFlags<S extends FlagSpecs>(specs: S, argv: readonly string[]): ParsedFlags<S> {
  const given = new Map<string, string[]>();
  const args: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const token = argv[i] ?? "";
    if (token === "--") {
      args.push(...argv.slice(i + 1));
      break;
    }
    if (!token.startsWith("-") || token === "-") {
      args.push(token);
      continue;
    }
    const equals = token.indexOf("=");
    const written = equals === -1 ? token : token.slice(0, equals);
    const { name, negated } = findFlag(specs, written);
    const spec = specs[name];
    if (spec === undefined) throw unknownFlag(specs, written);
    let value = equals === -1 ? undefined : token.slice(equals + 1);
    if (spec.placeholder === "") {
      value ??= "true";
      if (value !== "true" && value !== "false") {
        throw new FlagError(`flag '${written}' takes true or false, got '${value}'`);
      }
      if (negated) value = value === "true" ? "false" : "true";
    } else if (value === undefined) {
      value = argv[++i];
      if (value === undefined) throw new FlagError(`expected argument for flag '${written}'`);
    }
    const values = given.get(name) ?? [];
    if (values.length > 0 && !spec.repeatable) {
      throw new FlagError(`flag '${name}' cannot be repeated`);
    }
    given.set(name, [...values, value]);
  }
  return { config: readConfig(specs, given), args };
}

function readConfig<S extends FlagSpecs>(
  specs: S,
  given: ReadonlyMap<string, readonly string[]>,
): Config<S> {
  const missing = Object.keys(specs).filter((name) => specs[name]?.required && !given.has(name));
  if (missing.length > 0) {
    const names = missing.map((name) => `'--${name}'`).join(", ");
    throw new FlagError(`required flag(s) ${names} not provided`);
  }
  const config: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    try {
      config[name] = spec.read(given.get(name) ?? []);
    } catch (error) {
      if (!(error instanceof FlagValueError)) throw error;
      throw new FlagError(`flag '--${name}': ${error.message}`);
    }
  }
  return Object.freeze(config) as Config<S>;
}

/** `--no-x` stands for the boolean x only when no flag is called no-x. */
function findFlag(specs: FlagSpecs, written: string): { name: string; negated: boolean } {
  const name = written.startsWith("--") ? written.slice(2) : "";
  if (!Object.hasOwn(specs, name) && name.startsWith("no-")) {
    const positive = name.slice(3);
    if (Object.hasOwn(specs, positive) && specs[positive]?.placeholder === "") {
      return { name: positive, negated: true };
    }
  }
  return { name: Object.hasOwn(specs, name) ? name : "", negated: false };
}

function unknownFlag(specs: FlagSpecs, written: string): FlagError {
  const kind = written.startsWith("--") ? "long" : "short";
  const visible = Object.keys(specs).filter((name) => specs[name]?.hidden === false);
  const near = nearest(written.replace(/^-+/, ""), visible);
  const hint = near === undefined ? "" : `, did you mean '--${near}'?`;
  return new FlagError(`unknown ${kind} flag '${written}'${hint}`);
}

/** The candidate nearest by edit distance, when it is near enough to be what was meant. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Levenshtein distance with transposed neighbours as one edit: `recieve` is one from `receive`. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const differs = a[i - 1] === b[j - 1] ? 0 : 1;
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + differs);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      }
      row.push(cost);
    }
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}
