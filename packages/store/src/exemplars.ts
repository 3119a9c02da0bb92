/** thanos.Exemplars over a list of sources: each one's exemplars of the series that a query selects. */

import { type Labels, type Matcher, MatcherRegexError, mergeLabels } from "@torus/model";
import { children, type Expr, PromqlParseError, parseExpr } from "@torus/promql";
import {
  decodeExemplarsRequest,
  EXEMPLARS,
  encodeExemplars,
  type WireExemplars,
} from "@torus/protocol";
import { GrpcError, type GrpcMethods, GrpcStatus } from "@torus/server";
import { matchExternal } from "./source.ts";

export type ExemplarSource = {
  /** External labels, sorted. */
  labels: Labels;
  /** Of the series that pass all matchers of one of the lists; times in ms, inclusive. By labels, oldest first. */
  select: (
    lists: readonly (readonly Matcher[])[],
    mint: number,
    maxt: number,
  ) => readonly WireExemplars[];
};

/** @param sources Asked anew for each call. */
export function exemplarMethods(sources: () => readonly ExemplarSource[]): GrpcMethods {
  return {
    [EXEMPLARS]: {
      kind: "serverStream",
      async *handler(message) {
        const { query, start, end } = decodeExemplarsRequest(message);
        const lists = selectorsOf(query);
        for (const { labels, select } of sources()) {
          const wanted = lists.flatMap((matchers) => {
            const own = matchExternal(labels, matchers);
            return own === null ? [] : [own];
          });
          if (wanted.length === 0) continue;
          for (const series of select(wanted, start, end)) {
            yield encodeExemplars({ ...series, labels: mergeLabels(series.labels, labels) });
          }
        }
      },
    },
  };
}

/** The matchers of each selector of an expression. @throws {GrpcError} INVALID_ARGUMENT for what is none */
function selectorsOf(query: string): (readonly Matcher[])[] {
  let expr: Expr;
  try {
    expr = parseExpr(query);
  } catch (error) {
    if (!(error instanceof PromqlParseError || error instanceof MatcherRegexError)) throw error;
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, error.message, { cause: error });
  }
  const out: (readonly Matcher[])[] = [];
  const walk = (node: Expr): void => {
    if (node.kind === "vectorSelector") out.push(node.matchers);
    for (const child of children(node)) walk(child);
  };
  walk(expr);
  return out;
}
