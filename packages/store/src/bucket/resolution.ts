/**
 * Which blocks answer a query, where raw blocks and downsampled ones of the same data stand side by side: the coarsest
 * that the query takes, and finer ones where those leave gaps. Per set of external labels, since only blocks of one
 * set hold the same data.
 */

import type { ServedBlock } from "./gateway.ts";

/**
 * @param blocks Ascending by mint.
 * @param maxResolutionMs The coarsest window wanted; 0 for raw samples only.
 * @returns Those that overlap [mint, maxt], no data twice; ascending by mint.
 */
export function blocksFor(
  blocks: readonly ServedBlock[],
  mint: number,
  maxt: number,
  maxResolutionMs: number,
): ServedBlock[] {
  const groups = new Map<string, ServedBlock[]>();
  for (const block of blocks) {
    if (block.resolutionMs > maxResolutionMs || block.maxt < mint || block.mint > maxt) continue;
    const key = JSON.stringify(block.labels);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [block]);
    else group.push(block);
  }
  const chosen: ServedBlock[] = [];
  for (const group of groups.values()) {
    const resolutions = [...new Set(group.map((block) => block.resolutionMs))];
    cover(
      group,
      resolutions.sort((a, b) => b - a),
      mint,
      maxt,
      new Set(),
      chosen,
    );
  }
  return chosen.sort((a, b) => a.mint - b.mint || (a.ulid < b.ulid ? -1 : 1));
}

function cover(
  group: readonly ServedBlock[],
  [resolution, ...finer]: readonly number[],
  mint: number,
  maxt: number,
  taken: Set<ServedBlock>,
  chosen: ServedBlock[],
): void {
  if (resolution === undefined || mint > maxt) return;
  let start = mint;
  for (const block of group) {
    if (block.resolutionMs !== resolution || block.maxt < mint || block.mint > maxt) continue;
    cover(group, finer, start, Math.min(maxt, block.mint - 1), taken, chosen);
    start = Math.max(start, block.maxt + 1);
    // A finer block may reach over two gaps.
    if (taken.has(block)) continue;
    taken.add(block);
    chosen.push(block);
  }
  cover(group, finer, start, maxt, taken, chosen);
}
