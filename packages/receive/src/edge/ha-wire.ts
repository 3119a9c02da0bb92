/**
 * How one receiver asks another whom to listen to, where the other owns the cluster: `torus.HaTracker/Elect`, a call
 * between torus' own nodes, with JSON for its messages.
 *
 *     {"tenant": "t", "pairs": [{"cluster": "eu", "replica": "b", "hint": {"replica": "a", "agoMs": 1200}}]}
 *     {"elected": [{"replica": "a", "agoMs": 1180}]}          one for each pair, in order
 */

export const HA_ELECT = "/torus.HaTracker/Elect";

export type HaPair = {
  cluster: string;
  replica: string;
  /** What the asker knows of an earlier election. */
  hint: { replica: string; agoMs: number } | null;
};

/** The message is not one of ours. */
export class HaMessageError extends Error {
  constructor(what: string) {
    super(`HA tracker: ${what}`);
    this.name = "HaMessageError";
  }
}

const MOST_PAIRS = 10_000;

export function encodeElect(tenant: string, pairs: readonly HaPair[]): Uint8Array {
  return Buffer.from(JSON.stringify({ tenant, pairs }));
}

/** @throws {HaMessageError} */
export function decodeElect(message: Uint8Array): { tenant: string; pairs: HaPair[] } {
  const { tenant, pairs } = record(parsed(message));
  if (!Array.isArray(pairs) || pairs.length > MOST_PAIRS) throw new HaMessageError("no pairs");
  return {
    tenant: textOf(tenant),
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

export function encodeElected(elected: readonly { replica: string; agoMs: number }[]): Uint8Array {
  return Buffer.from(JSON.stringify({ elected }));
}

/** @throws {HaMessageError} */
export function decodeElected(
  message: Uint8Array,
  count: number,
): { replica: string; agoMs: number }[] {
  const { elected } = record(parsed(message));
  if (!Array.isArray(elected) || elected.length !== count) {
    throw new HaMessageError(`not an answer for ${count} clusters`);
  }
  return elected.map(heardOf);
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

function heardOf(value: unknown): { replica: string; agoMs: number } {
  const { replica, agoMs } = record(value);
  if (typeof agoMs !== "number" || !(agoMs >= 0)) throw new HaMessageError("no age");
  return { replica: textOf(replica), agoMs };
}
