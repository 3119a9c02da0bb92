/**
 * One event a line, as logfmt or JSON, with Thanos' fields:
 *
 *     ts=2026-11-23T03:00:00.000Z level=info component=receive msg="listening" address=127.0.0.1:10902
 */

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];
export const LOG_FORMATS = ["logfmt", "json"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

/** Errors become their message and the messages of their causes; undefined fields are left out. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  debug(msg: string, fields?: LogFields): void;
  info(msg: string, fields?: LogFields): void;
  warn(msg: string, fields?: LogFields): void;
  error(msg: string, fields?: LogFields): void;
  /** A logger that adds these fields to each line. */
  with(fields: LogFields): Logger;
}

export type LogOptions = {
  level: LogLevel;
  format: LogFormat;
  now: () => number;
  /** Takes whole lines, the newline included. */
  write: (line: string) => void;
};

export function createLogger(options: LogOptions, fields: LogFields = {}): Logger {
  const least = LOG_LEVELS.indexOf(options.level);
  const at =
    (level: LogLevel) =>
    (msg: string, more: LogFields = {}) => {
      if (LOG_LEVELS.indexOf(level) < least) return;
      const ts = new Date(options.now()).toISOString();
      const line = { ts, level, ...fields, msg, ...more };
      options.write(`${options.format === "json" ? jsonLine(line) : logfmtLine(line)}\n`);
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (more) => createLogger(options, { ...fields, ...more }),
  };
}

/** The message of an error with those of its causes, outermost first: `open WAL: read segment 3: EIO`. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const parts = [error.message === "" ? error.name : error.message];
  if (error instanceof AggregateError) parts.push(error.errors.map(errorText).join("; "));
  if (error.cause !== undefined) parts.push(errorText(error.cause));
  return parts.filter((part) => part !== "").join(": ");
}

function jsonLine(fields: LogFields): string {
  return JSON.stringify(fields, (_, value: unknown) => {
    if (value instanceof Error) return errorText(value);
    return typeof value === "bigint" ? value.toString() : value;
  });
}

function logfmtLine(fields: LogFields): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) pairs.push(`${name}=${logfmtValue(value)}`);
  }
  return pairs.join(" ");
}

function logfmtValue(value: unknown): string {
  let text: string;
  if (value instanceof Error) text = errorText(value);
  else if (typeof value === "object" && value !== null) text = JSON.stringify(value);
  else text = String(value);
  // Quoted where a reader of logfmt would split or misread it; JSON's quoting is logfmt's.
  return /^[^\s"=\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text);
}
