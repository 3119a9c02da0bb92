/** Why a query that parsed gave no result. An API turns these into Prometheus' error types. */

/** The expression cannot be evaluated on this data, or a limit was reached: `execution`. */
export class QueryExecutionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "QueryExecutionError";
  }
}

export class QueryTimeoutError extends Error {
  constructor(where: string) {
    super(`query timed out in ${where}`);
    this.name = "QueryTimeoutError";
  }
}

/** Whoever asked does not wait for the answer any more. */
export class QueryCanceledError extends Error {
  constructor(where: string) {
    super(`query was canceled in ${where}`);
    this.name = "QueryCanceledError";
  }
}
