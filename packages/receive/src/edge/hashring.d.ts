/** The part of npm's `hashring` that is used; the package has no types of its own. */
declare module "hashring" {
  export default class HashRing {
    constructor(servers: readonly string[]);
    /** All servers as the ring orders them for the key: the one that owns it, and who follows where those before are missing. */
    range(key: string, size: number, unique: true): string[];
  }
}
