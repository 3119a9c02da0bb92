/**
 * What receivers say to each other about HA pairs, in calls between torus' own nodes with JSON for their messages.
 *
 * `torus.HaTracker/Elect`: whom to listen to, of the one who decides. An answer is of use within `budgetMs` only.
 *
 *     {"tenant": "t", "budgetMs": 500,
 *      "pairs": [{"cluster": "eu", "replica": "b", "hint": {"replica": "a", "term": 3, "agoMs": 1200}}]}
 *     {"elected": [{"replica": "a", "term": 3, "agoMs": 1180}]}          one for each pair, in order
 *
 * `torus.HaTracker/Recall`: what the asked one knows, and what those know that the asker does not reach; nothing is
 * decided. Without clusters, whether the asked one is there.
 *
 *     {"tenant": "t", "clusters": ["eu", "us"], "absent": ["10.0.0.3:10901"], "budgetMs": 500}
 *     {"known": [{"replica": "a", "term": 3, "agoMs": 1180}, null]}      one for each cluster, in order
 */

export const HA_ELECT = "/torus.HaTracker/Elect";
export const HA_RECALL = "/torus.HaTracker/Recall";

/** An `Elected` between clocks that need not agree. */
export type HeardAgo = { replica: string; term: number; agoMs: number };

export type HaPair = {
  cluster: string;
  replica: string;
  /** What the asker knows of an earlier election. */
  hint: HeardAgo | null;
};

/** The message is not one of ours. */
export class HaMessageError extends Error {
  constructor(what: string) {
    super(`HA tracker: ${what}`);
    this.name = "HaMessageError";
  }
}

/** Clusters of one message. */
export const MOST_PAIRS = 10_000;
/** More than any cluster lives to see, and exact as a number. */
const MOST_TERMS = 2 ** 40;

export function encodeElect(
  tenant: string,
  pairs: readonly HaPair[],
  budgetMs: number,
): Uint8Array {
  return Buffer.from(JSON.stringify({ tenant, budgetMs, pairs }));
}

/** @throws {HaMessageError} */
export function decodeElect(message: Uint8Array): {
  tenant: string;
  pairs: HaPair[];
  budgetMs: number;
} {
  const { tenant, pairs, budgetMs } = record(parsed(message));
  if (!Array.isArray(pairs) || pairs.length > MOST_PAIRS) throw new HaMessageError("no pairs");
  return {
    tenant: textOf(tenant),
    budgetMs: budgetOf(budgetMs),
    pairs: pairs.map((each: unknown) => {
      const { cluster, replica, hint } = record(each);
      return {
        cluster: textOf(cluster),
        replica: textOf(replica),
        hint: hint === null || hint === undefined ? null : heardOf(hint),
      };
    }),
  };
}

export function encodeElected(elected: readonly HeardAgo[]): Uint8Array {
  return Buffer.from(JSON.stringify({ elected }));
}

/** @throws {HaMessageError} */
export function decodeElected(message: Uint8Array, count: number): HeardAgo[] {
  return listOf(record(parsed(message)).elected, count).map(heardOf);
}

export type HaRecall = {
  tenant: string;
  clusters: readonly string[];
  /** Addresses. */
  absent: readonly string[];
  budgetMs: number;
};

export function encodeRecall(recall: HaRecall): Uint8Array {
  return Buffer.from(JSON.stringify(recall));
}

/** @throws {HaMessageError} */
export function decodeRecall(message: Uint8Array): HaRecall {
  const { tenant, clusters, absent, budgetMs } = record(parsed(message));
  if (!Array.isArray(clusters) || clusters.length > MOST_PAIRS) {
    throw new HaMessageError("no clusters");
  }
  if (!Array.isArray(absent) || absent.length > MOST_PAIRS) throw new HaMessageError("no list");
  if (typeof tenant !== "string") throw new HaMessageError("no tenant");
  return {
    tenant,
    clusters: clusters.map(textOf),
    absent: absent.map(textOf),
    budgetMs: budgetOf(budgetMs),
  };
}

export function encodeKnown(known: readonly (HeardAgo | null)[]): Uint8Array {
  return Buffer.from(JSON.stringify({ known }));
}

/** @throws {HaMessageError} */
export function decodeKnown(message: Uint8Array, count: number): (HeardAgo | null)[] {
  const known = listOf(record(parsed(message)).known, count);
  return known.map((each) => (each === null ? null : heardOf(each)));
}

function parsed(message: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(message).toString());
  } catch (error) {
    throw new HaMessageError(`no JSON: ${(error as Error).message}`);
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new HaMessageError("no object");
  return value as Record<string, unknown>;
}

function textOf(value: unknown): string {
  if (typeof value !== "string" || value === "") throw new HaMessageError("no text");
  return value;
}

function budgetOf(value: unknown): number {
  if (typeof value !== "number" || !(value >= 0)) throw new HaMessageError("no budget");
  return value;
}

function listOf(value: unknown, count: number): unknown[] {
  if (Array.isArray(value) && value.length === count) return value;
  throw new HaMessageError(`not an answer for ${count} clusters`);
}

function heardOf(value: unknown): HeardAgo {
  const { replica, term, agoMs } = record(value);
  if (typeof agoMs !== "number" || !(agoMs >= 0)) throw new HaMessageError("no age");
  if (!Number.isInteger(term) || !(Number(term) >= 0) || Number(term) > MOST_TERMS) {
    throw new HaMessageError("no term");
  }
  return { replica: textOf(replica), term: Number(term), agoMs };
}
