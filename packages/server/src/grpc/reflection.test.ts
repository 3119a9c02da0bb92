/** A grpc-js client asks as grpcurl does, and reads the descriptors with protobufjs. */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import grpc from "@grpc/grpc-js";
import { Registry } from "prom-client";
import protobuf from "protobufjs";
import descriptor from "protobufjs/ext/descriptor/index.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createLogger } from "../log.ts";
import { reflectionMethods } from "./reflection.ts";
import { GrpcServer } from "./server.ts";

const { root } = protobuf.parse(`syntax = "proto3";
  message Request {
    string host = 1;
    oneof message_request {
      string file_by_filename = 3; string file_containing_symbol = 4; string list_services = 7;
      string all_extension_numbers_of_type = 6;
    }
  }
  message Response {
    string valid_host = 1; Request original_request = 2;
    Files file_descriptor_response = 4; Services list_services_response = 6; Error error_response = 7;
  }
  message Files { repeated bytes file_descriptor_proto = 1; }
  message Services { repeated Service service = 1; }
  message Service { string name = 1; }
  message Error { int32 error_code = 1; string error_message = 2; }`);
const Request = root.lookupType("Request");
const Response = root.lookupType("Response");

const dir = mkdtempSync(path.join(tmpdir(), "torus-proto-"));
writeFileSync(
  path.join(dir, "types.proto"),
  'syntax = "proto3"; package a.types; message Label { string name = 1; }',
);
writeFileSync(
  path.join(dir, "service.proto"),
  `syntax = "proto3"; package a; import "types.proto";
   message Ask { repeated a.types.Label labels = 1; }
   service Store { rpc Series(Ask) returns (stream a.types.Label); }`,
);

const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const server = new GrpcServer({ log, metrics: new Registry(), maxMessageBytes: 1 << 20 });
let client: grpc.Client;

beforeAll(async () => {
  server.add({ "/a.Store/Series": { kind: "unary", handler: (request) => request } });
  const files = [path.join(dir, "service.proto")];
  server.addAlways(reflectionMethods(dir, files, () => server.services));
  const address = await server.listen("127.0.0.1:0");
  client = new grpc.Client(address, grpc.credentials.createInsecure());
});
afterAll(async () => {
  client.close();
  await server.stop(0);
  rmSync(dir, { recursive: true });
});

type Answer = {
  listServicesResponse?: { service: { name: string }[] };
  fileDescriptorResponse?: { fileDescriptorProto: Uint8Array[] };
  errorResponse?: { errorCode: number; errorMessage: string };
};

/** Asks all questions on one stream. */
function ask(version: string, questions: readonly object[]): Promise<Answer[]> {
  return new Promise((resolve, reject) => {
    const call = client.makeBidiStreamRequest(
      `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
      (bytes: Buffer) => bytes,
      (bytes) => Response.decode(bytes) as Answer,
    );
    const answers: Answer[] = [];
    call.on("data", (answer: Answer) => answers.push(answer));
    call.on("error", reject);
    call.on("end", () => resolve(answers));
    for (const question of questions) call.write(Buffer.from(Request.encode(question).finish()));
    call.end();
  });
}

describe.each(["v1", "v1alpha"])("reflection %s", (version) => {
  test("lists the services", async () => {
    const [answer] = await ask(version, [{ listServices: "*" }]);
    const names = answer?.listServicesResponse?.service.map(({ name }) => name);
    expect(names).toContain("a.Store");
    expect(names).toContain(`grpc.reflection.${version}.ServerReflection`);
  });

  test("gives the files of a symbol, imports included, and finds them again by name", async () => {
    const [bySymbol] = await ask(version, [{ fileContainingSymbol: "a.Store" }]);
    const files = bySymbol?.fileDescriptorResponse?.fileDescriptorProto ?? [];
    const decoded = files.map((file) => descriptor.FileDescriptorProto.decode(file).toJSON());
    const messages = decoded.flatMap(({ messageType }) => messageType as { name: string }[]);
    expect(messages.map(({ name }) => name).sort()).toStrictEqual(["Ask", "Label"]);
    const services = decoded.flatMap(({ service }) => (service ?? []) as { name: string }[]);
    expect(services.map(({ name }) => name)).toStrictEqual(["Store"]);
    const [byName] = await ask(version, [{ fileByFilename: String(decoded[0]?.["name"]) }]);
    expect(byName?.fileDescriptorResponse?.fileDescriptorProto.length).toBeGreaterThan(0);
  });

  test("says what it does not know, and goes on", async () => {
    const answers = await ask(version, [
      { fileContainingSymbol: "a.Nothing" },
      { allExtensionNumbersOfType: "a.Ask" },
      { fileContainingSymbol: "a.types.Label" },
    ]);
    expect(answers.map((answer) => answer.errorResponse?.errorCode)).toStrictEqual([
      5,
      12,
      undefined,
    ]);
  });
});
