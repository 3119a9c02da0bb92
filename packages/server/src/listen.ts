/** Addresses as Go's flags write them, and listening on them with errors that name them. */

import type { AddressInfo, Server } from "node:net";

/** The message is Go's: `listen tcp 127.0.0.1:10901: bind: address already in use`. */
export class ListenError extends Error {
  readonly address: string;
  readonly code: string;
  constructor(address: string, code: string, options?: ErrorOptions) {
    super(`listen tcp ${address}: ${LISTEN_TEXTS[code] ?? code}`, options);
    this.name = "ListenError";
    this.address = address;
    this.code = code;
  }
}

const LISTEN_TEXTS: Readonly<Record<string, string>> = {
  EADDRINUSE: "bind: address already in use",
  EADDRNOTAVAIL: "bind: cannot assign requested address",
  EACCES: "bind: permission denied",
  ENOTFOUND: "no such host",
  EINVAL: "want host:port with a port from 0 to 65535",
};

export type HostPort = { host: string; port: number };

/**
 * `0.0.0.0:10902`, `:10902` (every interface, host ""), `[::1]:80`.
 *
 * @throws {ListenError} EINVAL
 */
export function parseAddress(address: string): HostPort {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new ListenError(address, "EINVAL");
  return { host: match[1] ?? match[2] ?? "", port };
}

/** `host:port`, the host of IPv6 in brackets. */
export function formatAddress({ host, port }: HostPort): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Resolves with the address that the server listens on, its port the real one where 0 was asked for.
 *
 * @throws {ListenError}
 */
export async function listen(server: Server, address: string): Promise<string> {
  const { host, port } = parseAddress(address);
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException) =>
      reject(new ListenError(address, error.code ?? error.message, { cause: error }));
    server.once("error", failed);
    const listening = () => {
      server.off("error", failed);
      resolve();
    };
    if (host === "") server.listen(port, listening);
    else server.listen(port, host, listening);
  });
  const bound = server.address();
  if (bound === null || typeof bound === "string") return address;
  const { address: boundHost, port: boundPort }: AddressInfo = bound;
  return formatAddress({ host: boundHost, port: boundPort });
}
