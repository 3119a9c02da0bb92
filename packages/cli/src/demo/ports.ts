/** Whether ports are free, asked before anything is started. */

import { createServer } from "node:net";
import type { ComponentPlan } from "./plan.ts";

/** `query http 127.0.0.1:10902` for each listener of the plan whose address is taken, in its order. */
export async function takenAddresses(components: readonly ComponentPlan[]): Promise<string[]> {
  const taken: string[] = [];
  for (const { name, http, grpc, remoteWrite } of components) {
    const listeners = [["HTTP", http] as const, ["gRPC", grpc] as const];
    if (remoteWrite !== undefined) taken.push(...(await named(name, "remote write", remoteWrite)));
    for (const [listener, address] of listeners)
      taken.push(...(await named(name, listener, address)));
  }
  return taken;
}

async function named(name: string, listener: string, address: string): Promise<string[]> {
  return (await isFree(address)) ? [] : [`${address} (${listener} of ${name})`];
}

async function isFree(address: string): Promise<boolean> {
  const [host = "", port = ""] = address.split(":");
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen({ host, port: Number(port), exclusive: true }, () => {
      server.close(() => resolve(true));
    });
  });
}
