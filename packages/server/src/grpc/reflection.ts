/**
 * grpc.reflection.v1 and v1alpha: tells grpcurl and others which services there are and what their messages look
 * like, from the project's .proto files. The two versions differ in their package's name only.
 *
 *     ServerReflectionRequest  { host = 1; oneof: file_by_filename = 3, file_containing_symbol = 4,
 *                                file_containing_extension = 5, all_extension_numbers_of_type = 6, list_services = 7 }
 *     ServerReflectionResponse { valid_host = 1; original_request = 2; oneof: file_descriptor_response = 4 { bytes[] = 1 },
 *                                list_services_response = 6 { service[] = 1 { name = 1 } },
 *                                error_response = 7 { error_code = 1, error_message = 2 } }
 */

import {
  type AnyDefinition,
  type EnumTypeDefinition,
  loadSync,
  type MessageTypeDefinition,
} from "@grpc/proto-loader";
import protobuf from "protobufjs/minimal.js";
import { GrpcError, type GrpcMethod, type GrpcMethods, GrpcStatus } from "./service.ts";

/** @param protoFiles Paths of the .proto files, each of which may import others beside `protoDir`. */
export function reflectionMethods(
  protoDir: string,
  protoFiles: readonly string[],
  services: () => readonly string[],
): GrpcMethods {
  let index: DescriptorIndex | undefined;
  const answer = (request: Uint8Array) => {
    // Parsed when the first one asks: a process that nobody inspects pays nothing.
    index ??= readDescriptors(protoDir, protoFiles);
    return reflect(request, index, services());
  };
  const method: GrpcMethod = {
    kind: "bidi",
    async *handler(requests) {
      for await (const request of requests) yield answer(request);
    },
  };
  return {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": method,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": method,
  };
}

type DescriptorIndex = {
  /** FileDescriptorProto bytes with those it imports, by symbol and by file name. */
  bySymbol: ReadonlyMap<string, readonly Uint8Array[]>;
  byFile: ReadonlyMap<string, readonly Uint8Array[]>;
};

function readDescriptors(protoDir: string, files: readonly string[]): DescriptorIndex {
  const definition = loadSync([...files], { includeDirs: [protoDir], keepCase: true });
  const bySymbol = new Map<string, readonly Uint8Array[]>();
  const byFile = new Map<string, readonly Uint8Array[]>();
  const all = new Map<string, Uint8Array>();
  for (const [name, entry] of Object.entries(definition)) {
    if (isType(entry)) {
      bySymbol.set(name, entry.fileDescriptorProtos);
      for (const file of entry.fileDescriptorProtos) all.set(readFirstString(file), file);
      continue;
    }
    for (const [method, { requestType }] of Object.entries(entry)) {
      bySymbol.set(name, requestType.fileDescriptorProtos);
      bySymbol.set(`${name}.${method}`, requestType.fileDescriptorProtos);
    }
  }
  // With its imports is more than was asked for, and allowed: a client takes what it has not seen.
  for (const name of all.keys()) byFile.set(name, [...all.values()]);
  return { bySymbol, byFile };
}

function isType(
  entry: AnyDefinition,
): entry is MessageTypeDefinition<object, object> | EnumTypeDefinition {
  return Array.isArray(entry.fileDescriptorProtos);
}

/** FileDescriptorProto.name is field 1. */
function readFirstString(descriptor: Uint8Array): string {
  const reader = protobuf.Reader.create(descriptor);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === 0x0a) return reader.string();
    reader.skipType(tag & 7);
  }
  return "";
}

function reflect(
  request: Uint8Array,
  index: DescriptorIndex,
  services: readonly string[],
): Uint8Array {
  const { kind, text } = readRequest(request);
  const out = protobuf.Writer.create();
  out.uint32(0x12).bytes(request);
  if (kind === 7) {
    out.uint32(0x32).fork();
    for (const name of services) out.uint32(0x0a).fork().uint32(0x0a).string(name).ldelim();
    return out.ldelim().finish();
  }
  const found = kind === 3 ? index.byFile.get(text) : index.bySymbol.get(text);
  if (found !== undefined && (kind === 3 || kind === 4)) {
    out.uint32(0x22).fork();
    for (const file of found) out.uint32(0x0a).bytes(file);
    return out.ldelim().finish();
  }
  const [code, message] =
    kind === 3 || kind === 4
      ? [GrpcStatus.NOT_FOUND, `not found: ${text}`]
      : [GrpcStatus.UNIMPLEMENTED, "extensions are not supported"];
  out.uint32(0x3a).fork().uint32(0x08).int32(code).uint32(0x12).string(message).ldelim();
  return out.finish();
}

/** The field number of the oneof, and its string; extensions' messages are not looked into. */
function readRequest(request: Uint8Array): { kind: number; text: string } {
  try {
    const reader = protobuf.Reader.create(request);
    let [kind, text] = [0, ""];
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      const field = tag >>> 3;
      if (field >= 3 && field <= 7) kind = field;
      if ((field === 3 || field === 4) && (tag & 7) === 2) text = reader.string();
      else reader.skipType(tag & 7);
    }
    return { kind, text };
  } catch (error) {
    throw new GrpcError(GrpcStatus.INVALID_ARGUMENT, "malformed ServerReflectionRequest", {
      cause: error,
    });
  }
}
