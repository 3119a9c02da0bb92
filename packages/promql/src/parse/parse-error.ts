/** The error of an expression that does not parse, with the text and position Prometheus gives it. */

export class PromqlParseError extends Error {
  /** UTF-16 offsets into the query. */
  readonly start: number;
  readonly end: number;
  readonly reason: string;

  constructor(query: string, start: number, end: number, reason: string) {
    const where = query === "" ? "unknown position" : describePosition(query, start);
    super(`${where}: parse error: ${reason}`);
    this.name = "PromqlParseError";
    this.start = start;
    this.end = end;
    this.reason = reason;
  }
}

/** `line:column`, both from 1, the column in UTF-8 bytes. */
export function describePosition(query: string, offset: number): string {
  let line = 1;
  let lineStart = 0;
  for (let i = 0; i < offset && i < query.length; i++) {
    if (query[i] === "\n") {
      line++;
      lineStart = i + 1;
    }
  }
  return `${line}:${Buffer.byteLength(query.slice(lineStart, offset)) + 1}`;
}
