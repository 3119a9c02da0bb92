/** The part of npm's `hashring` that is used; the package has no types of its own. */
declare module "hashring" {
  export default class HashRing {
    constructor(servers: readonly string[]);
    /** The server that owns the key. */
    get(key: string): string;
  }
}
