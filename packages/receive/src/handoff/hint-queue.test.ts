import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import { type DropReason, type Hint, HintQueue } from "./hint-queue.ts";

const dirs: string[] = [];
const queues: HintQueue[] = [];
afterEach(async () => {
  for (const queue of queues.splice(0)) await queue.close();
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

function newDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), "torus-hints-"));
  dirs.push(dir);
  return dir;
}

async function openQueue(dir: string, maxBytes = 1 << 30) {
  const drops: DropReason[] = [];
  const queue = await HintQueue.open({
    dir,
    maxBytes,
    maxMessageBytes: 1 << 20,
    onDrop: (reason, hints) => {
      for (let i = 0; i < hints; i++) drops.push(reason);
    },
  });
  queues.push(queue);
  return { queue, drops };
}

const hint = (i: number, bytes = 100): Hint => ({
  message: Buffer.alloc(bytes, i),
  series: i,
  timeMs: 1000 + i,
});

async function drain(queue: HintQueue, oldest = 0): Promise<number[]> {
  const seen: number[] = [];
  for (let next = await queue.peek(oldest); next !== null; next = await queue.peek(oldest)) {
    expect(next.message.every((byte) => byte === (next?.series ?? 0) % 256)).toBe(true);
    expect(next.timeMs).toBe(1000 + next.series);
    seen.push(next.series);
    queue.done();
  }
  return seen;
}

const upTo = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

test("hints come out in their order, over files and a restart, while others come in", async () => {
  const dir = newDir();
  const { queue } = await openQueue(dir);
  await Promise.all(upTo(40).map((i) => queue.push(hint(i, 500_000), false)));
  expect(readdirSync(dir).length).toBeGreaterThan(1);
  expect(await queue.peek(0)).toMatchObject({ series: 0 });
  // What was looked at and not done is still there.
  expect(await queue.peek(0)).toMatchObject({ series: 0 });
  queue.done();
  await queue.push(hint(40), true);
  await queue.close();
  const { queue: again } = await openQueue(dir);
  // The file that was being read is read from its beginning.
  expect(await drain(again)).toEqual(upTo(41));
  expect([again.isEmpty, again.bytes, readdirSync(dir)]).toEqual([true, 0, []]);
  await again.push(hint(41), false);
  expect(await drain(again)).toEqual([41]);
});

test("above its size nothing more is kept, and what is too old is given up", async () => {
  const { queue, drops } = await openQueue(newDir(), 1000);
  const kept = await Promise.all(upTo(20).map((i) => queue.push(hint(i), false)));
  expect(kept).toEqual(upTo(20).map((i) => i < 8));
  expect(drops).toEqual(Array(12).fill("full"));
  expect(await drain(queue, 1003)).toEqual(upTo(5, 3));
  expect(drops.slice(12)).toEqual(["old", "old", "old"]);
  expect(await queue.push(hint(20), false)).toBe(true);
});

test("every cut of a file loses what is behind it and nothing else", async () => {
  const dir = newDir();
  const { queue } = await openQueue(dir);
  for (const i of upTo(3)) await queue.push(hint(i, 10), false);
  await queue.close();
  const file = path.join(dir, "00000001");
  const whole = readFileSync(file);
  for (let size = 0; size < whole.length; size++) {
    writeFileSync(file, whole);
    truncateSync(file, size);
    const { queue: cut, drops } = await openQueue(dir);
    await cut.push(hint(9), false);
    const left = Math.floor(size / 30);
    expect(await drain(cut), `cut at ${size}`).toEqual([...upTo(left), 9]);
    expect(drops, `cut at ${size}`).toEqual(size % 30 === 0 ? [] : ["torn"]);
    await cut.close();
  }
});

test("a changed bit ends its file, and the next one goes on", async () => {
  const dir = newDir();
  const { queue } = await openQueue(dir);
  for (const i of upTo(3)) await queue.push(hint(i, 10), false);
  await queue.close();
  const file = path.join(dir, "00000001");
  const whole = readFileSync(file);
  for (let at = 30; at < 60; at++) {
    const bytes = Buffer.from(whole);
    bytes[at] = (bytes[at] as number) ^ 1;
    writeFileSync(file, bytes);
    const { queue: flipped, drops } = await openQueue(dir);
    await flipped.push(hint(9), false);
    expect(await drain(flipped), `byte ${at}`).toEqual([0, 9]);
    expect(drops).toEqual(["torn"]);
    await flipped.close();
  }
});

test("when the disk takes nothing, the hint is dropped and the ones before stay", async () => {
  const dir = newDir();
  const { queue, drops } = await openQueue(dir);
  await queue.push(hint(0), false);
  await queue.peek(0);
  // The next one needs a new file, whose name is taken by something else.
  writeFileSync(path.join(dir, "00000002"), "");
  appendFileSync(path.join(dir, "00000003"), "");
  expect(await queue.push(hint(1), false)).toBe(false);
  expect(drops).toEqual(["disk"]);
  expect(await drain(queue)).toEqual([0]);
  expect(await queue.push(hint(2), false)).toBe(true);
});
