/**
 * What stands before an HTTP listener: TLS, passwords (bcrypt), tokens and certificates with the tenants that they
 * may speak for, and headers for every answer. All of it comes from files that are followed; an invalid new version
 * is logged and counted, and the last valid one stays. Whether there is TLS at all is settled at the start.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerOptions } from "node:https";
import path from "node:path";
import { createSecureContext, type SecureContextOptions, TLSSocket } from "node:tls";
import { Access, subjectAlternativeNames, type TenantPatterns } from "./access.ts";
import { bcryptMatches } from "./bcrypt.ts";
import { ConfigError } from "./config-file.ts";
import { errorText, type Logger } from "./log.ts";
import {
  NO_WEB_CONFIG,
  type PemSource,
  parseWebConfig,
  readPem,
  type TlsFiles,
  type WebConfig,
} from "./web-config.ts";

export type WebGuardOptions = {
  /** Path of Prometheus' web configuration; "" for none. */
  configFile: string;
  /** Instead of the configuration's, where flags of their own name the files. */
  tls: TlsFiles | null;
  /** Path of the access configuration; "" for none. */
  accessFile: string;
  /** Milliseconds between two looks at the files. */
  refreshMs: number;
  log: Logger;
  onReload: (result: "applied" | "invalid") => void;
};

/** All that was read, at one time. */
type State = {
  /** Of the bytes of all files. */
  digest: string;
  config: WebConfig;
  access: Access | null;
  tls: { files: TlsFiles; context: SecureContextOptions } | null;
};

/** Passwords that were right, as digests. */
const MOST_VERIFIED = 1000;
/** Requests that wait for a hash to be computed. */
const MOST_WAITING = 64;
/** Of no password; compared for unknown users, who else would be told by the time. */
const NO_PASSWORD = "$2b$10$kMm24AVDDH68NT/Mc0HeTu9QON6yIvL2LKJGiqIGHGI8UZRHbwgNe";

const principals = new WeakMap<IncomingMessage, TenantPatterns>();

/** Whether the one who sent the request may speak for the tenant; where nobody is asked, everybody may. */
export function mayUseTenant(request: IncomingMessage, tenant: string): boolean {
  return principals.get(request)?.(tenant) ?? true;
}

const NO_TENANT: TenantPatterns = () => false;

export class WebGuard {
  readonly #options: WebGuardOptions;
  readonly #verified = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #state: State;
  #seen: string;
  #waiting = 0;
  #hashing: Promise<unknown> = Promise.resolve();
  /** Of the listeners that it stands before. */
  readonly #onContext: ((context: SecureContextOptions) => void)[] = [];

  /** @throws {ConfigError} when a file is invalid or missing. */
  constructor(options: WebGuardOptions) {
    this.#options = options;
    this.#state = read(options);
    this.#seen = this.#state.digest;
    this.#timer = setInterval(() => this.check(), options.refreshMs);
    this.#timer.unref();
  }

  /** For https.createServer; null where the listener speaks plain HTTP. */
  get tls(): ServerOptions | null {
    const { tls } = this.#state;
    if (tls === null) return null;
    // Who may connect is judged by `admitsConnection`: Go's five ways are more than Node's two.
    const requestCert = tls.files.clientAuthType !== "NoClientCert";
    return { ...tls.context, requestCert, rejectUnauthorized: false };
  }

  /** Called with each new TLS context. */
  onContext(apply: (context: SecureContextOptions) => void): void {
    this.#onContext.push(apply);
  }

  get headers(): ReadonlyMap<string, string> {
    return this.#state.config.headers;
  }

  /** Whether the client's certificate is good enough for the configured way. */
  admitsConnection(socket: TLSSocket): boolean {
    const files = this.#state.tls?.files;
    if (files === undefined) return true;
    const certificate = socket.getPeerCertificate();
    const isGiven = certificate !== undefined && Object.keys(certificate).length > 0;
    switch (files.clientAuthType) {
      case "NoClientCert":
      case "RequestClientCert":
        return true;
      case "RequireAnyClientCert":
        return isGiven;
      case "VerifyClientCertIfGiven":
        if (!isGiven) return true;
        break;
      case "RequireAndVerifyClientCert":
        if (!isGiven) return false;
    }
    if (!socket.authorized) return false;
    const { clientAllowedSans } = files;
    if (clientAllowedSans.length === 0) return true;
    const names = subjectAlternativeNames(certificate);
    return clientAllowedSans.some((name) => names.includes(name));
  }

  /**
   * True when the request may go on. Otherwise, at once or when its password is known to be wrong, it is answered
   * here.
   */
  admit(request: IncomingMessage, response: ServerResponse): boolean | Promise<boolean> {
    const { config, access } = this.#state;
    for (const [name, value] of config.headers) response.setHeader(name, value);
    if (config.users.size === 0 && access === null) return true;
    const [, scheme = "", value = ""] =
      /^(\w+) +(\S+)$/.exec(request.headers.authorization ?? "") ?? [];
    if (scheme.toLowerCase() === "basic" && config.users.size > 0) {
      return this.#admitUser(request, response, value);
    }
    const tenants =
      scheme.toLowerCase() === "bearer" ? access?.ofToken(value) : ofCertificate(request, access);
    if (tenants === undefined) return this.#refuse(request, response);
    principals.set(request, tenants);
    return true;
  }

  #admitUser(
    request: IncomingMessage,
    response: ServerResponse,
    encoded: string,
  ): boolean | Promise<boolean> {
    const text = Buffer.from(encoded, "base64").toString();
    const colon = text.indexOf(":");
    const name = text.slice(0, Math.max(colon, 0));
    const password = text.slice(colon + 1);
    const { config, access } = this.#state;
    const hash = config.users.get(name);
    const pass = () => {
      if (access !== null) principals.set(request, access.ofUser(name) ?? NO_TENANT);
      return true;
    };
    const key = createHash("sha256")
      .update(JSON.stringify([name, hash ?? "", password]))
      .digest("base64");
    if (this.#verified.has(key)) return pass();
    if (this.#waiting >= MOST_WAITING) {
      response.setHeader("retry-after", 1);
      refuse(request, response, 503, "too many passwords are being checked");
      return false;
    }
    this.#waiting++;
    // One after the other: what a stranger sends takes no more than a part of one core.
    const checked = this.#hashing.then(() => bcryptMatches(password, hash ?? NO_PASSWORD));
    this.#hashing = checked.catch(() => undefined);
    return checked
      .then((matches) => {
        if (!matches || hash === undefined) return this.#refuse(request, response);
        if (this.#verified.size >= MOST_VERIFIED) {
          const [oldest] = this.#verified;
          this.#verified.delete(oldest as string);
        }
        this.#verified.add(key);
        return pass();
      })
      .finally(() => this.#waiting--);
  }

  #refuse(request: IncomingMessage, response: ServerResponse): false {
    const { config, access } = this.#state;
    const ways: string[] = [];
    if (config.users.size > 0) ways.push("Basic");
    if (access?.hasTokens === true) ways.push("Bearer");
    if (ways.length > 0) response.setHeader("www-authenticate", ways);
    refuse(request, response, 401, "Unauthorized");
    return false;
  }

  /** Looks at the files now. */
  check(): void {
    const { log, onReload } = this.#options;
    try {
      const next = read(this.#options);
      if (next.digest === this.#seen) return;
      this.#seen = next.digest;
      const before = this.#state.tls?.files.clientAuthType;
      const after = next.tls?.files.clientAuthType;
      if ((before === undefined) !== (after === undefined)) {
        throw new ConfigError("TLS cannot be switched on or off while the process runs");
      }
      if ((before === "NoClientCert") !== (after === "NoClientCert")) {
        throw new ConfigError("client certificates cannot be asked for while the process runs");
      }
      this.#state = next;
      const context = next.tls?.context;
      if (context !== undefined) for (const apply of this.#onContext) apply(context);
      log.info("applied new web configuration", this.#names());
      onReload("applied");
    } catch (error) {
      const text = errorText(error);
      // The same trouble is told once.
      if (text === this.#seen) return;
      this.#seen = text;
      log.error("new web configuration is invalid, keeping the last one", {
        ...this.#names(),
        err: text,
      });
      onReload("invalid");
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #names(): { file: string } {
    const { configFile, accessFile } = this.#options;
    return { file: [configFile, accessFile].filter((each) => each !== "").join(", ") };
  }
}

/** A body that nobody read must not be taken for the next request. */
function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  message: string,
): void {
  if (!request.complete) {
    response.setHeader("connection", "close");
    response.once("finish", () => request.destroy());
  }
  response.statusCode = status;
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("x-content-type-options", "nosniff");
  response.end(`${message}\n`);
}

function ofCertificate(
  { socket }: IncomingMessage,
  access: Access | null,
): TenantPatterns | undefined {
  if (access === null || !(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  return access.ofCertificate(socket.getPeerCertificate());
}

/** @throws {ConfigError} */
function read(options: WebGuardOptions): State {
  const digest = createHash("sha256");
  const file = (name: string): string => {
    try {
      const text = readFileSync(name, "utf8");
      digest.update(`${text}\0`);
      return text;
    } catch (error) {
      throw new ConfigError("web configuration", { cause: error });
    }
  };
  const pem = (source: PemSource): string => {
    const text = readPem(source);
    digest.update(`${text}\0`);
    return text;
  };
  const { configFile, accessFile } = options;
  const config =
    configFile === ""
      ? NO_WEB_CONFIG
      : parseWebConfig(file(configFile), path.dirname(path.resolve(configFile)));
  const access = accessFile === "" ? null : new Access(file(accessFile));
  const files = options.tls ?? config.tls;
  if (files === null) return { digest: digest.digest("hex"), config, access, tls: null };
  const context: SecureContextOptions = {
    cert: pem(files.cert),
    key: pem(files.key),
    minVersion: files.minVersion,
    maxVersion: files.maxVersion,
    honorCipherOrder: files.preferServerCiphers,
    ...(files.clientCa === null ? {} : { ca: pem(files.clientCa) }),
    ...(files.ciphers === "" ? {} : { ciphers: files.ciphers }),
    ...(files.curves === "" ? {} : { ecdhCurve: files.curves }),
  };
  try {
    // A certificate that does not fit its key is found here, and not by the next client.
    createSecureContext(context);
  } catch (error) {
    throw new ConfigError("web configuration: TLS", { cause: error });
  }
  return { digest: digest.digest("hex"), config, access, tls: { files, context } };
}
