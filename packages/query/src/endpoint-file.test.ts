import { expect, test } from "vitest";
import { parseEndpointFile } from "./endpoint-file.ts";

const FLAGS = { certFile: "", keyFile: "", caFile: "ca", serverName: "", skipVerify: false };

test("endpoints have the file's client configuration, their own one, or that of the flags", () => {
  const common = `
default_client_config:
  server_name: store.example
  tls_config: {enabled: true, ca_file: a, cert_file: b, key_file: c, insecure_skip_verify: true}
`;
  const endpoints = `
endpoints:
  - address: dns+store.example:10901
  - {address: "10.0.0.1:10901", strict: true, client_config: {tls_config: {enabled: false}}}
`;
  const tls = {
    certFile: "b",
    keyFile: "c",
    caFile: "a",
    serverName: "store.example",
    skipVerify: true,
  };
  expect(parseEndpointFile(common + endpoints, FLAGS)).toEqual([
    { address: "dns+store.example:10901", strict: false, tls },
    { address: "10.0.0.1:10901", strict: true, tls: null },
  ]);
  expect(parseEndpointFile(endpoints, FLAGS)[0]?.tls).toBe(FLAGS);
  expect(parseEndpointFile("", null)).toEqual([]);
});

test.each([
  ["endpoints: [", "it is no YAML"],
  ["- a", "the file is no mapping"],
  ["endpoints: {}", "endpoints is no list"],
  ["endpoints: [{}]", "endpoints[0].address is none"],
  ["endpoints: [{address: x}]", "endpoints[0].address is none"],
  ["endpoints: [{address: 'a:1', strict: 1}]", "endpoints[0].strict is no boolean"],
  ["endpoints: [{address: 'a:1', group: true}]", "endpoints[0] has no field group here"],
  ["default_client_config: {tls_config: {enabled: x}}", "tls_config.enabled is no boolean"],
])("%s is refused", (text, what) => expect(() => parseEndpointFile(text, null)).toThrow(what));
