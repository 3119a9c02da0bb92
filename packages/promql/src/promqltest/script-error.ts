/** A script test that cannot be read: the runner's user wrote it wrong, the engine was not asked. */
export class ScriptError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ScriptError";
  }
}
