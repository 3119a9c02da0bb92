/**
 * A TCP port in front of another: what the ring names for a node, so that its connections can be reset, refused or
 * held without touching the process behind.
 */

import { connect, createServer, type Server, type Socket } from "node:net";

export class FaultyLink {
  readonly port: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #state: "open" | "refusing" | "holding" = "open";

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async open(targetPort: number): Promise<FaultyLink> {
    let link: FaultyLink | undefined;
    const server = createServer((incoming) => link?.join(incoming, targetPort));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    link = new FaultyLink(server, (server.address() as { port: number }).port);
    return link;
  }

  /** Ends every connection by RST; new ones are taken. */
  reset(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  /** Resets, and goes on resetting whatever comes. */
  refuse(): void {
    this.#state = "refusing";
    this.reset();
  }

  /** Connections stay, no byte passes. */
  hold(): void {
    this.#state = "holding";
    for (const socket of this.#sockets) socket.pause();
  }

  heal(): void {
    this.#state = "open";
    for (const socket of this.#sockets) socket.resume();
  }

  async close(): Promise<void> {
    this.reset();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  private join(incoming: Socket, targetPort: number): void {
    this.#keep(incoming);
    if (this.#state === "refusing") {
      incoming.resetAndDestroy();
      return;
    }
    const outgoing = connect(targetPort, "127.0.0.1");
    this.#keep(outgoing);
    for (const [from, to] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      from.pipe(to);
      from.on("close", () => to.destroy());
    }
    if (this.#state === "holding") for (const socket of [incoming, outgoing]) socket.pause();
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    // A reset is what this is for; both ends see it as a close.
    socket.on("error", () => undefined);
  }
}
