/** Every listener of every component, as a process, by method and by credential. */

import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import path from "node:path";
import tls from "node:tls";
import { createGrpcClient, type GrpcClient, GrpcStatus } from "@torus/server";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const TLS = path.join(import.meta.dirname, "../../../server/src/testdata");
const pem = (name: string) => readFileSync(path.join(TLS, name));
const dir = mkdtempSync(path.join(tmpdir(), "torus-auth-"));
const file = (name: string) => path.join(dir, name);
const running = new Set<ChildProcess>();

/** The addresses by protocol, in the order in which a process said that it listens. */
type Started = { http: string[]; grpc: string[] };
const started = new Map<string, Started>();

function listeners(name: string, ...flags: string[]): Promise<Started> {
  const common = [
    "--http-address=127.0.0.1:0",
    "--grpc-address=127.0.0.1:0",
    `--http.config=${file("web.yml")}`,
    `--http.access-file=${file("access.yml")}`,
    `--grpc-server-tls-cert=${file("grpc.pem")}`,
    `--grpc-server-tls-key=${TLS}/server-key.pem`,
    `--grpc-server-tls-client-ca=${TLS}/ca.pem`,
    "--tls-refresh-interval=100ms",
  ];
  const main = path.join(import.meta.dirname, "../main.ts");
  const child = spawn(process.execPath, ["--import", "tsx", main, name, ...common, ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  running.add(child);
  let log = "";
  return new Promise((resolve, reject) => {
    child.stderr.on("data", (text: Buffer) => {
      log += text.toString();
      if (!/msg="?ready"?/.test(log)) return;
      const found = [
        ...log.matchAll(/msg="listening for requests" .*?address=(\S+) protocol=(\w+)/g),
      ];
      const of = (protocol: string) =>
        found.flatMap(([, address = "", each]) => (each === protocol ? [address] : []));
      resolve({ http: of("http"), grpc: of("gRPC") });
    });
    child.once("exit", () => reject(new Error(`${name} ended: ${log}`)));
  });
}

beforeAll(async () => {
  copyFileSync(path.join(TLS, "server.pem"), file("grpc.pem"));
  writeFileSync(
    file("web.yml"),
    `tls_server_config:
  cert_file: ${TLS}/server.pem
  key_file: ${TLS}/server-key.pem
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: ${TLS}/ca.pem
basic_auth_users: {alice: $2b$05$q3aQjzo7JThwulhA2KPme./jOCeSBqqH5sdF7npAzqnWjPeBmFQeq}
`,
  );
  const sha256 = createHash("sha256").update("token-a").digest("hex");
  writeFileSync(
    file("access.yml"),
    `tokens: [{sha256: ${sha256}, tenants: [team-a]}]
certificates: [{common_name: agent-1, tenants: [team-a]}]
users: [{name: alice, tenants: [team-a]}]
`,
  );
  mkdirSync(file("bucket"));
  writeFileSync(file("bucket.yml"), `type: FILESYSTEM\nconfig: {directory: ${file("bucket")}}\n`);
  const bucket = `--objstore.config-file=${file("bucket.yml")}`;
  const all = await Promise.all([
    listeners(
      "receive",
      `--tsdb.path=${file("receive")}`,
      '--label=receive_replica="a"',
      "--remote-write.address=127.0.0.1:0",
    ),
    listeners("query"),
    listeners("store", `--data-dir=${file("store")}`, bucket),
    listeners("uploader", `--tsdb.path=${file("uploaded")}`, bucket),
  ]);
  for (const [i, name] of ["receive", "query", "store", "uploader"].entries()) {
    started.set(name, all[i] as Started);
  }
}, 60_000);
afterAll(() => {
  for (const child of running) {
    child.removeAllListeners("exit");
    child.kill("SIGKILL");
  }
  rmSync(dir, { recursive: true, force: true });
});

type Credential = { headers?: Record<string, string>; cert?: Buffer; key?: Buffer };
const agent = { cert: pem("agent.pem"), key: pem("agent-key.pem") };
const stranger = { cert: pem("stranger.pem"), key: pem("stranger-key.pem") };
const authorization = (text: string) => ({ headers: { authorization: text } });
const basic = (text: string) => authorization(`Basic ${Buffer.from(text).toString("base64")}`);

const CREDENTIALS: [name: string, credential: Credential, passes: boolean | "no connection"][] = [
  ["no credential", {}, false],
  ["a right password", basic("alice:secret"), true],
  ["a wrong password", basic("alice:wrong"), false],
  ["nobody's password", basic("bob:secret"), false],
  ["a token", authorization("Bearer token-a"), true],
  ["a wrong token", authorization("Bearer token-b"), false],
  ["a certificate", agent, true],
  ["a stranger's certificate", stranger, "no connection"],
];

/** The write port is the second HTTP listener of a receiver. */
const REQUESTS: [component: string, port: number, method: string, path: string, status: number][] =
  [
    ["receive", 0, "GET", "/-/healthy", 200],
    ["receive", 0, "GET", "/metrics", 200],
    ["receive", 0, "GET", "/nowhere", 404],
    ["receive", 1, "POST", "/api/v1/receive", 204],
    ["receive", 1, "POST", "/api/v1/write", 204],
    ["receive", 1, "GET", "/api/v1/receive", 405],
    ["receive", 1, "GET", "/nowhere", 404],
    ["query", 0, "GET", "/-/ready", 200],
    ["query", 0, "GET", "/api/v1/query?query=1", 200],
    ["query", 0, "POST", "/api/v1/query?query=1", 200],
    ["query", 0, "GET", "/metrics", 200],
    ["store", 0, "GET", "/-/healthy", 200],
    ["store", 0, "GET", "/metrics", 200],
    ["uploader", 0, "GET", "/-/healthy", 200],
    ["uploader", 0, "GET", "/metrics", 200],
  ];

function ask(
  address: string,
  method: string,
  target: string,
  { headers, ...certificate }: Credential,
  tenant = "team-a",
): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = https.request(
      `https://${address}${target}`,
      {
        method,
        agent: false,
        ca: pem("ca.pem"),
        ...certificate,
        headers: { ...headers, "thanos-tenant": tenant },
      },
      (answer) => {
        answer.resume();
        answer.once("end", () => resolve(answer.statusCode ?? 0));
      },
    );
    request.once("error", reject);
    // An empty body is an empty remote write request.
    request.end();
  });
}

describe("HTTP", () => {
  test.each(
    REQUESTS.flatMap((request) =>
      CREDENTIALS.map((credential) => [...request, ...credential] as const),
    ),
  )("%s, listener %i: %s %s is %i with %6$s", async (...row) => {
    const [component, port, method, target, status, , credential, passes] = row;
    const address = started.get(component)?.http[port] ?? "";
    if (passes === "no connection") {
      await expect(ask(address, method, target, credential)).rejects.toThrow(
        /socket hang up|ECONNRESET/,
      );
      return;
    }
    expect(await ask(address, method, target, credential)).toBe(passes ? status : 401);
  });

  test("a tenant that the credential may not speak for is 403 on the write port", async () => {
    const address = started.get("receive")?.http[1] ?? "";
    for (const credential of [basic("alice:secret"), authorization("Bearer token-a"), agent]) {
      expect(await ask(address, "POST", "/api/v1/receive", credential, "team-b")).toBe(403);
    }
  });

  test("nothing speaks without TLS", async () => {
    for (const { http } of started.values()) {
      for (const address of http)
        await expect(fetch(`http://${address}/-/healthy`)).rejects.toThrow("fetch failed");
    }
  });
});

describe("gRPC", () => {
  const limits = { maxMessageBytes: 1 << 20 };
  const ca = pem("ca.pem");
  const check = async (client: GrpcClient) => {
    const done = client.unary("/grpc.health.v1.Health/Check", new Uint8Array(0), {
      timeoutMs: 10_000,
    });
    return done.finally(() => client.close());
  };

  test.each(["receive", "query", "store", "uploader"])(
    "%s takes a client with a certificate, and none without or with a stranger's",
    async (component) => {
      const address = started.get(component)?.grpc[0] ?? "";
      const answer = await check(createGrpcClient(address, { ...limits, tls: { ca, ...agent } }));
      expect([...answer]).toStrictEqual([8, 1]);
      const refused = { code: GrpcStatus.UNAVAILABLE };
      for (const own of [{ ca }, { ca, ...stranger }]) {
        await expect(
          check(createGrpcClient(address, { ...limits, tls: own })),
        ).rejects.toMatchObject(refused);
      }
      await expect(check(createGrpcClient(address, limits))).rejects.toMatchObject(refused);
    },
  );

  test("a new certificate is shown to the next connection", async () => {
    const address = started.get("store")?.grpc[0] ?? "";
    const metrics = started.get("store")?.http[0] ?? "";
    const reloaded = async (result: string) =>
      expect
        .poll(() => text(metrics, "/metrics"), { timeout: 10_000 })
        .toContain(`torus_tls_reloads_total{result="${result}"} 1`);
    expect(await certificateOf(address)).toBe("first");
    // One that does not fit the key.
    copyFileSync(path.join(TLS, "stranger.pem"), file("grpc.pem"));
    await reloaded("invalid");
    expect(await certificateOf(address)).toBe("first");
    copyFileSync(path.join(TLS, "server-next.pem"), file("grpc.pem"));
    await reloaded("applied");
    expect(await certificateOf(address)).toBe("second");
  });
});

function text(address: string, target: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { agent: false, ca: pem("ca.pem"), ...agent } as const;
    const request = https.get(`https://${address}${target}`, options, (answer) => {
      let all = "";
      answer.on("data", (part: Buffer) => {
        all += part.toString();
      });
      answer.once("end", () => resolve(all));
    });
    request.once("error", reject);
  });
}

/** The name in the certificate that a listener shows. */
function certificateOf(address: string): Promise<string> {
  const { hostname, port } = new URL(`https://${address}`);
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: hostname, port: Number(port), ca: pem("ca.pem"), ...agent });
    socket.once("secureConnect", () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.once("error", reject);
  });
}
