/**
 * Names of objects: `/`-separated, no empty part, no `.` or `..`. The rule is the same for every bucket,
 * so that a name which would leave a directory bucket is refused on S3 too.
 */

export class InvalidObjectNameError extends Error {
  readonly objectName: string;
  constructor(objectName: string, reason: string) {
    super(`object name ${JSON.stringify(objectName)}: ${reason}`);
    this.name = "InvalidObjectNameError";
    this.objectName = objectName;
  }
}

/** S3's limit on a key. */
const MAX_NAME_BYTES = 1024;

/** @throws {InvalidObjectNameError} */
export function checkObjectName(name: string): void {
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
    throw new InvalidObjectNameError(name.slice(0, 64), `longer than ${MAX_NAME_BYTES} bytes`);
  }
  if (name.includes("\0")) throw new InvalidObjectNameError(name, "contains a zero byte");
  for (const part of name.split("/")) {
    if (part === "") throw new InvalidObjectNameError(name, "has an empty part");
    if (part === "." || part === "..")
      throw new InvalidObjectNameError(name, `has the part ${part}`);
  }
}

/** @throws {InvalidObjectNameError} unless `prefix` is "" or a name with "/" at its end. */
export function checkPrefix(prefix: string): void {
  if (prefix === "") return;
  if (!prefix.endsWith("/"))
    throw new InvalidObjectNameError(prefix, "is a prefix without a / at its end");
  checkObjectName(prefix.slice(0, -1));
}

/** Byte order of UTF-8, in which S3 lists. */
export function compareNames(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
