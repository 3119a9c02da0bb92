import { createHash } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TLSSocket } from "node:tls";
import { Registry } from "prom-client";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { Access } from "./access.ts";
import { ConfigError } from "./config-file.ts";
import { createHttpMetrics } from "./http-metrics.ts";
import { HttpServer } from "./http-server.ts";
import { createLogger } from "./log.ts";
import { cipherList, parseWebConfig } from "./web-config.ts";
import { mayUseTenant, WebGuard } from "./web-guard.ts";

const TLS = path.join(import.meta.dirname, "testdata");
const pem = (name: string) => readFileSync(path.join(TLS, name));
const log = createLogger({ level: "error", format: "logfmt", now: Date.now, write: () => {} });
const dir = mkdtempSync(path.join(tmpdir(), "torus-web-"));
const file = (name: string) => path.join(dir, name);
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Of "secret". */
const SECRET = "$2b$05$q3aQjzo7JThwulhA2KPme./jOCeSBqqH5sdF7npAzqnWjPeBmFQeq";
const servers: HttpServer[] = [];
const guards: WebGuard[] = [];
let reloads: string[] = [];
beforeEach(() => {
  reloads = [];
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((each) => each.stop(0)));
  for (const each of guards.splice(0)) each.stop();
});

type Listener = { guard: WebGuard; url: URL };

async function listener(config: string, access = ""): Promise<Listener> {
  writeFileSync(file("web.yml"), config);
  writeFileSync(file("access.yml"), access);
  const guard = new WebGuard({
    configFile: file("web.yml"),
    tls: null,
    accessFile: access === "" ? "" : file("access.yml"),
    refreshMs: 3_600_000,
    log,
    onReload: (result) => reloads.push(result),
  });
  guards.push(guard);
  const server = new HttpServer({
    log,
    metrics: createHttpMetrics(new Registry()),
    guard,
  });
  servers.push(server);
  server.raw("/tenant", ["GET", "POST"], (request, response) => {
    const tenant = String(request.headers.tenant);
    response.statusCode = mayUseTenant(request, tenant) ? 200 : 403;
    response.end("answer");
  });
  const address = await server.listen("127.0.0.1:0");
  return { guard, url: new URL(`${guard.tls === null ? "http" : "https"}://${address}/tenant`) };
}

type Answer = { status: number; headers: http.IncomingHttpHeaders; certificate: string };
type Asking = Omit<https.RequestOptions, "headers"> & {
  body?: Buffer;
  headers?: Record<string, string>;
};

/** What a client sees; the connection's error when there is no answer. */
async function ask({ url }: Listener, { body, ...options }: Asking = {}): Promise<Answer> {
  const over = url.protocol === "https:" ? https : http;
  return new Promise((resolve, reject) => {
    const request = over.request(url, { agent: false, ca: pem("ca.pem"), ...options }, (answer) => {
      const { socket } = answer;
      const certificate =
        url.protocol === "https:"
          ? String((socket as TLSSocket).getPeerCertificate().subject.CN)
          : "";
      answer.resume();
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, certificate }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

const basic = (user: string, password: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
});
const agent = { cert: pem("agent.pem"), key: pem("agent-key.pem") };
const stranger = { cert: pem("stranger.pem"), key: pem("stranger-key.pem") };
const server = `cert_file: ${TLS}/server.pem, key_file: ${TLS}/server-key.pem`;

describe("passwords", () => {
  const config = `basic_auth_users: {alice: ${SECRET}}\nhttp_server_config: {headers: {X-Frame-Options: deny}}`;

  test.each<[name: string, headers: Record<string, string>, status: number]>([
    ["none", {}, 401],
    ["the right one", basic("alice", "secret"), 200],
    ["a wrong one", basic("alice", "Secret"), 401],
    ["an empty one", basic("alice", ""), 401],
    ["one of nobody", basic("bob", "secret"), 401],
    ["no colon", { authorization: `Basic ${Buffer.from("alice").toString("base64")}` }, 401],
    ["a bearer token", { authorization: "Bearer secret" }, 401],
  ])("%s: %o is %d, and the second time too", async (_, headers, status) => {
    const at = await listener(config);
    for (let i = 0; i < 2; i++) {
      const answer = await ask(at, { headers });
      expect(answer.status).toBe(status);
      expect(answer.headers["x-frame-options"]).toBe("deny");
      expect(answer.headers["www-authenticate"]).toBe(status === 401 ? "Basic" : undefined);
    }
  });

  test("a refused request with a body is answered, and its connection ends", async () => {
    const at = await listener(config);
    const answer = await ask(at, { method: "POST", body: Buffer.alloc(10_000) });
    expect(answer.status).toBe(401);
    expect(answer.headers.connection).toBe("close");
  });

  test("of many wrong ones at a time some are told to come again, and the right one still passes", async () => {
    const slow = "$2b$08$q3aQjzo7JThwulhA2KPme../wkV9FbjmRpcXhMgGSX9u4OHjJOys.";
    const at = await listener(`basic_auth_users: {alice: ${slow}}`);
    const wrong = await Promise.all(
      Array.from({ length: 200 }, (_, i) => ask(at, { headers: basic("alice", `no-${i}`) })),
    );
    const statuses = new Set(wrong.map(({ status }) => status));
    expect(statuses).toStrictEqual(new Set([401, 503]));
    const refused = wrong.find(({ status }) => status === 503);
    expect(Number(refused?.headers["retry-after"])).toBeGreaterThan(0);
    expect((await ask(at, { headers: basic("alice", "secret") })).status).toBe(200);
  });

  test("a new file is followed, and an invalid one is not", async () => {
    const at = await listener(config);
    writeFileSync(file("web.yml"), `basic_auth_users: {bob: ${SECRET}}`);
    at.guard.check();
    expect((await ask(at, { headers: basic("alice", "secret") })).status).toBe(401);
    expect((await ask(at, { headers: basic("bob", "secret") })).status).toBe(200);
    writeFileSync(file("web.yml"), "basic_auth_users: {bob: secret}");
    at.guard.check();
    at.guard.check();
    expect((await ask(at, { headers: basic("bob", "secret") })).status).toBe(200);
    expect(reloads).toStrictEqual(["applied", "invalid"]);
  });
});

describe("client certificates", () => {
  const ca = `client_ca_file: ${TLS}/ca.pem`;
  test.each<[type: string, rest: string, none: boolean, signed: boolean, strange: boolean]>([
    ["NoClientCert", "", true, true, true],
    ["RequestClientCert", "", true, true, true],
    ["RequireAnyClientCert", "", false, true, true],
    ["VerifyClientCertIfGiven", ca, true, true, false],
    ["RequireAndVerifyClientCert", ca, false, true, false],
    [
      "RequireAndVerifyClientCert",
      `${ca}, client_allowed_sans: [agent-1.example]`,
      false,
      true,
      false,
    ],
    [
      "RequireAndVerifyClientCert",
      `${ca}, client_allowed_sans: [other.example]`,
      false,
      false,
      false,
    ],
  ])("%s %s: without one %j, with one %j, with a stranger's %j", async (type, rest, ...passes) => {
    const at = await listener(
      `tls_server_config: {${server}, client_auth_type: ${type}${rest === "" ? "" : `, ${rest}`}}`,
    );
    for (const [i, options] of [{}, agent, stranger].entries()) {
      const passed = await ask(at, options).then(
        ({ status }) => status === 200,
        () => false,
      );
      expect(passed).toBe(passes[i]);
    }
  });

  test("TLS below the least version is refused", async () => {
    const at = await listener(`tls_server_config: {${server}, min_version: TLS13}`);
    await expect(ask(at, { maxVersion: "TLSv1.2" })).rejects.toThrow(/protocol version/);
    expect((await ask(at, { minVersion: "TLSv1.3" })).status).toBe(200);
  });

  test("a renewed certificate is shown to the next connection, and one that does not fit its key is not", async () => {
    copyFileSync(path.join(TLS, "server.pem"), file("cert.pem"));
    copyFileSync(path.join(TLS, "server-key.pem"), file("key.pem"));
    const at = await listener("tls_server_config: {cert_file: cert.pem, key_file: key.pem}");
    expect((await ask(at)).certificate).toBe("first");
    copyFileSync(path.join(TLS, "server-next.pem"), file("cert.pem"));
    at.guard.check();
    expect((await ask(at)).certificate).toBe("second");
    copyFileSync(path.join(TLS, "agent.pem"), file("cert.pem"));
    at.guard.check();
    expect((await ask(at)).certificate).toBe("second");
    expect(reloads).toStrictEqual(["applied", "invalid"]);
    writeFileSync(file("web.yml"), "");
    at.guard.check();
    expect((await ask(at)).status).toBe(200);
    expect(reloads).toStrictEqual(["applied", "invalid", "invalid"]);
  });
});

describe("tenants", () => {
  const access = `
tokens: [{sha256: TOKEN, tenants: [team-a, "b-*-x"]}]
certificates: [{common_name: agent-1, tenants: [team-c]}, {organization: team-a, tenants: [team-d]}]
users: [{name: alice, tenants: ["*"]}]`.replace("TOKEN", sha256("token-a"));
  const tls = `tls_server_config: {${server}, client_auth_type: VerifyClientCertIfGiven, client_ca_file: ${TLS}/ca.pem}`;
  const config = `${tls}\nbasic_auth_users: {alice: ${SECRET}, bob: ${SECRET}}`;
  const token = { authorization: "Bearer token-a" };

  test.each<[name: string, options: Asking, tenant: string, status: number]>([
    ["nothing", {}, "team-a", 401],
    ["a token", { headers: token }, "team-a", 200],
    ["a token", { headers: token }, "b-1-x", 200],
    ["a token", { headers: token }, "b-x", 403],
    ["a token", { headers: token }, "team-c", 403],
    ["a wrong token", { headers: { authorization: "Bearer token-b" } }, "team-a", 401],
    ["a certificate", agent, "team-c", 200],
    ["a certificate", agent, "team-d", 200],
    ["a certificate", agent, "team-a", 403],
    [
      "a certificate and a wrong token",
      { ...agent, headers: { authorization: "Bearer x" } },
      "team-c",
      401,
    ],
    ["a user", { headers: basic("alice", "secret") }, "any", 200],
    ["a user with a wrong password", { headers: basic("alice", "x") }, "any", 401],
    ["a user without tenants", { headers: basic("bob", "secret") }, "team-a", 403],
  ])("%s (%o) for %s is %d", async (_, options, tenant, status) => {
    const at = await listener(config, access);
    const headers = { ...options.headers, tenant };
    expect((await ask(at, { ...options, headers })).status).toBe(status);
  });

  test("a certificate that nobody verified says nothing", async () => {
    const open = tls.replace("VerifyClientCertIfGiven", "RequestClientCert");
    const at = await listener(open, access);
    expect((await ask(at, { ...stranger, headers: { tenant: "team-c" } })).status).toBe(401);
  });
});

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

test.each<[text: string, message: RegExp]>([
  ["tls_server_config: {cert_file: a}", /needs cert_file and key_file/],
  [
    "tls_server_config: {cert_file: a, key_file: b, client_auth_type: Maybe}",
    /invalid client_auth_type: "Maybe"/,
  ],
  [
    "tls_server_config: {cert_file: a, key_file: b, client_auth_type: RequireAndVerifyClientCert}",
    /needs client_ca_file/,
  ],
  ["tls_server_config: {cert_file: a, key_file: b, client_ca_file: c}", /without a policy/],
  [
    "tls_server_config: {cert_file: a, key_file: b, min_version: TLS14}",
    /unknown min_version: "TLS14"/,
  ],
  ["tls_server_config: {cert_file: a, key_file: b, cipher_suites: [RC4]}", /unknown cipher: RC4/],
  ["tls_server_config: {cert_file: a, key_file: b, certs: c}", /field certs not found/],
  ["basic_auth_user: {a: b}", /field basic_auth_user not found/],
  ["http_server_config: {headers: {Server: x}}", /field Server not found/],
  ["[1]", /not a mapping/],
  ["a: [", /web configuration/],
])("web configuration %j is refused: %s", (text, message) => {
  expect(() => parseWebConfig(text, "/")).toThrow(ConfigError);
  expect(() => parseWebConfig(text, "/")).toThrow(message);
});

test("cipher suites are named as Go names them", () => {
  const names = [
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
  ];
  expect(cipherList(names).split(":")).toStrictEqual([
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "AES128-GCM-SHA256",
    "TLS_AES_256_GCM_SHA384",
  ]);
});

test.each<[text: string, message: RegExp]>([
  ["tokens: [{sha256: abc, tenants: []}]", /no SHA-256 in hex/],
  ["tokens: {}", /tokens is not a list/],
  ["certificates: [{tenants: [a]}]", /needs one of common_name/],
  ["certificates: [{common_name: a, organization: b, tenants: [a]}]", /needs one of/],
  ["users: [{name: a}]", /tenants is not a list/],
  ["user: []", /field user not found/],
])("access configuration %j is refused: %s", (text, message) => {
  expect(() => new Access(text)).toThrow(message);
});
