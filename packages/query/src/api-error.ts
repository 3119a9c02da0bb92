/** Prometheus' error types, and what each failure is (Prometheus' HTTP API). */

import { MatcherRegexError } from "@torus/model";
import {
  PromqlParseError,
  QueryCanceledError,
  QueryExecutionError,
  QueryTimeoutError,
} from "@torus/promql";
import { FanOutError } from "@torus/store";

export type ErrorType =
  | "bad_data"
  | "execution"
  | "canceled"
  | "timeout"
  | "internal"
  | "unavailable"
  | "not_found";

const STATUS: Readonly<Record<ErrorType, number>> = {
  bad_data: 400,
  execution: 422,
  canceled: 499,
  timeout: 503,
  internal: 500,
  unavailable: 503,
  not_found: 404,
};

export class ApiError extends Error {
  readonly type: ErrorType;
  readonly status: number;

  /** @param options `status` where it is not the one of the type. */
  constructor(type: ErrorType, message: string, options?: ErrorOptions & { status?: number }) {
    super(message, options);
    this.name = "ApiError";
    this.type = type;
    this.status = options?.status ?? STATUS[type];
  }
}

/** A parameter of the request is missing or wrong. */
export function badParameter(name: string, message: string): ApiError {
  return new ApiError("bad_data", `invalid parameter "${name}": ${message}`);
}

/** The one place where what a query throws becomes an answer. */
export function apiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { message } = error instanceof Error ? error : { message: String(error) };
  const type: ErrorType =
    error instanceof PromqlParseError || error instanceof MatcherRegexError
      ? "bad_data"
      : error instanceof QueryTimeoutError
        ? "timeout"
        : error instanceof QueryCanceledError || (error as Error).name === "AbortError"
          ? "canceled"
          : error instanceof QueryExecutionError || error instanceof FanOutError
            ? "execution"
            : "internal";
  return new ApiError(type, message, { cause: error });
}
