/**
 * grpc.health.v1 (health.proto of the gRPC specification): Check and Watch.
 *
 *     HealthCheckRequest  { string service = 1 }
 *     HealthCheckResponse { UNKNOWN = 0, SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3: status = 1 }
 */

import protobuf from "protobufjs/minimal.js";
import type { Probe } from "../probe.ts";
import { type GrpcCall, GrpcError, type GrpcMethods, GrpcStatus } from "./service.ts";

const SERVING = 1;
const NOT_SERVING = 2;
const SERVICE_UNKNOWN = 3;

/** "" asks for the whole server. `services` names those that exist when it is asked. */
export function healthMethods(probe: Probe, services: () => readonly string[]): GrpcMethods {
  const status = (service: string) => {
    if (service !== "" && !services().includes(service)) return SERVICE_UNKNOWN;
    return probe.isReady ? SERVING : NOT_SERVING;
  };
  const check = (request: Uint8Array) => {
    const service = readService(request);
    const found = status(service);
    if (found === SERVICE_UNKNOWN) {
      throw new GrpcError(GrpcStatus.NOT_FOUND, `unknown service ${service}`);
    }
    return response(found);
  };
  return {
    "/grpc.health.v1.Health/Check": { kind: "unary", handler: check },
    "/grpc.health.v1.Health/Watch": {
      kind: "serverStream",
      handler: (request, call) => {
        const service = readService(request);
        return watchHealth(() => status(service), probe, call);
      },
    },
  };
}

async function* watchHealth(
  status: () => number,
  probe: Probe,
  call: GrpcCall,
): AsyncGenerator<Uint8Array> {
  let last = -1;
  while (!call.signal.aborted) {
    const now = status();
    if (now !== last) yield response(now);
    last = now;
    if (status() === last) await changed(probe, call.signal);
  }
}

function changed(probe: Probe, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      off();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const off = probe.onChange(done);
    signal.addEventListener("abort", done);
    if (signal.aborted) done();
  });
}

function response(status: number): Uint8Array {
  return Uint8Array.of(0x08, status);
}

/** @throws {GrpcError} INVALID_ARGUMENT */
function readService(request: Uint8Array): string {
  try {
    const reader = protobuf.Reader.create(request);
    let service = "";
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === 0x0a) service = reader.string();
      else reader.skipType(tag & 7);
    }
    return service;
  } catch (error) {
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, "malformed HealthCheckRequest", {
      cause: error,
    });
  }
}
