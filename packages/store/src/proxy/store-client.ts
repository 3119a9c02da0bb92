/** Connections to StoreAPI endpoints, with or without TLS. */

import { readFileSync } from "node:fs";
import grpc from "@grpc/grpc-js";
import { ConfigError, createGrpcClient, createGrpcJsClient, type GrpcClient } from "@torus/server";

/** Paths of PEM files, "" for none. Plain data, so that each thread can open its own connections. */
export type ClientTls = {
  certFile: string;
  keyFile: string;
  /** Without one, the authorities that Node knows. */
  caFile: string;
  /** Expected in the server's certificate instead of the address' host; "" for that. */
  serverName: string;
  skipVerify: boolean;
};

export type EndpointSpec = {
  address: string;
  /** Asked also while its Info fails, and never taken off the list. */
  strict: boolean;
  /** Null for none. */
  tls: ClientTls | null;
};

/** @throws {ConfigError} when a file of its TLS cannot be read or is none */
export function openStoreClient(
  { address, tls }: Pick<EndpointSpec, "address" | "tls">,
  maxMessageBytes: number,
): GrpcClient {
  if (tls === null) return createGrpcJsClient(address, { maxMessageBytes });
  const { certFile, keyFile, caFile, serverName, skipVerify } = tls;
  try {
    const read = (file: string) => (file === "" ? null : readFileSync(file));
    const credentials = grpc.credentials.createSsl(
      read(caFile),
      read(keyFile),
      read(certFile),
      skipVerify ? { rejectUnauthorized: false, checkServerIdentity: () => undefined } : {},
    );
    return createGrpcJsClient(address, { maxMessageBytes, credentials, serverName });
  } catch (error) {
    throw new ConfigError(`open the TLS of gRPC clients for ${address}`, { cause: error });
  }
}

/**
 * A connection for streams of series, over our own client, which reads large messages at a third of the other's cost.
 * @throws {ConfigError} when a file of its TLS cannot be read
 */
export function openSeriesClient(
  { address, tls }: Pick<EndpointSpec, "address" | "tls">,
  maxMessageBytes: number,
): GrpcClient {
  if (tls === null) return createGrpcClient(address, { maxMessageBytes });
  const { certFile, keyFile, caFile, serverName, skipVerify } = tls;
  try {
    const read = (name: "ca" | "cert" | "key", file: string) =>
      file === "" ? {} : { [name]: readFileSync(file) };
    return createGrpcClient(address, {
      maxMessageBytes,
      tls: {
        ...read("ca", caFile),
        ...read("cert", certFile),
        ...read("key", keyFile),
        ...(serverName === "" ? {} : { serverName }),
        skipVerify,
      },
    });
  } catch (error) {
    throw new ConfigError(`open the TLS of gRPC clients for ${address}`, { cause: error });
  }
}
