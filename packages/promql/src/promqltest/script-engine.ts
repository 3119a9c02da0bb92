/** What the runner of script tests needs of an engine. */

import type { Queryable } from "@torus/model";
import type { QueryResult } from "../result.ts";

export interface ScriptEngine {
  /** Rejects with the query's error, whose message is Prometheus' text. */
  instant(storage: Queryable, query: string, timeMs: number): Promise<QueryResult>;
  /** A scalar comes back as a matrix of one series without labels. */
  range(
    storage: Queryable,
    query: string,
    times: { startMs: number; endMs: number; stepMs: number },
  ): Promise<QueryResult>;
}
