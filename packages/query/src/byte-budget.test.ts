import { expect, test } from "vitest";
import { ByteBudget, QueryBytesError, SharedBytes } from "./byte-budget.ts";

const MIB = 1024 * 1024;

test("a query above its own limit is told how much it would hold", () => {
  const budget = new ByteBudget(10 * MIB, new SharedBytes(0, 1), 0);
  budget.storage(6 * MIB);
  budget.evaluation(4 * MIB);
  expect(() => budget.storage(1)).toThrow(
    "query processing would hold 10485761 bytes in memory, more than the 10485760 that a query may hold (--query.max-bytes)",
  );
  expect(budget.peak).toBe(10 * MIB + 1);
});

test("queries of several threads share one limit, and what one gives back another may take", () => {
  const shared = new SharedBytes(10 * MIB, 2);
  const other = new SharedBytes(10 * MIB, shared.slots);
  const a = new ByteBudget(0, shared, 0);
  const b = new ByteBudget(0, other, 1);
  a.evaluation(6 * MIB);
  expect(() => b.evaluation(5 * MIB)).toThrow(QueryBytesError);
  // What was refused is not held.
  expect(shared.heldBytes).toBe(6 * MIB);
  a.evaluation(5 * MIB);
  b.evaluation(5 * MIB);
  a.release();
  b.evaluation(10 * MIB);
  expect(shared.heldBytes).toBe(10 * MIB);
});

test("giving bytes back never fails", () => {
  const shared = new SharedBytes(MIB, 1);
  const budget = new ByteBudget(MIB, shared, 0);
  expect(() => budget.storage(3 * MIB)).toThrow(QueryBytesError);
  budget.storage(-2 * MIB);
  expect(shared.heldBytes).toBe(MIB);
});
