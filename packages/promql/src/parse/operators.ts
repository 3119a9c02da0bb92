/** Binary operators by how tightly they bind, and the words that are functions of durations and of scalars. */

export const precedence: Readonly<Record<string, number>> = {
  or: 1,
  and: 2,
  unless: 2,
  "==": 3,
  "!=": 3,
  ">": 3,
  "<": 3,
  ">=": 3,
  "<=": 3,
  "</": 3,
  ">/": 3,
  "+": 4,
  "-": 4,
  "*": 5,
  "/": 5,
  "%": 5,
  atan2: 5,
  "^": 6,
};

export const POWER = 6;

export const functionWords: ReadonlySet<string> = new Set([
  "start",
  "end",
  "step",
  "range",
  "max_of",
  "min_of",
]);
