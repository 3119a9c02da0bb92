/** The seam between the head and its logs. */

/** What the head needs of the write-ahead log. */
export interface RecordLog {
  /**
   * Writes the records in one go, and returns when the operating system has them. The bytes are only lent.
   * When it throws, the log is as it was before.
   */
  log(records: readonly Uint8Array[]): void;
}

/** The log could not be written (`cause` tells why): nothing of the request's last step was stored. */
export class LogWriteError extends Error {
  constructor(cause: unknown) {
    super(
      `append: write-ahead log not written: ${cause instanceof Error ? cause.message : String(cause)}`,
      { cause },
    );
    this.name = "LogWriteError";
  }
}
