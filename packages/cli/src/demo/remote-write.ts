/** Sends WriteRequests to the first of several receivers that takes them. */

import { snappyEncode } from "@torus/encoding";
import { encodeWriteRequest, type WriteSeries } from "@torus/protocol";

export type WriteResult = {
  /** The receiver that answered last; "" when none did. */
  address: string;
  /** Its status; 0 when none answered. */
  status: number;
  /** What it said, or the error of the connection. */
  text: string;
};

export class RemoteWriter {
  readonly #addresses: readonly string[];
  readonly #timeoutMs: number;
  /** Where the last request succeeded; it is tried first. */
  #preferred = 0;

  /** @param addresses host:port of receivers' remote write listeners. */
  constructor(addresses: readonly string[], timeoutMs: number) {
    this.#addresses = addresses;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Resolves with the first 2xx or 4xx (the request is wrong, and would be wrong elsewhere), else with the last
   * failure. 5xx and connection errors move on to the next receiver, once around. Never rejects.
   */
  async write(series: readonly WriteSeries[], tenant = ""): Promise<WriteResult> {
    const body = snappyEncode(encodeWriteRequest(series));
    let result: WriteResult = { address: "", status: 0, text: "no receivers" };
    for (let i = 0; i < this.#addresses.length; i++) {
      const index = (this.#preferred + i) % this.#addresses.length;
      result = await this.#post(this.#addresses[index] ?? "", body, tenant);
      if (result.status >= 200 && result.status < 500 && result.status !== 429) {
        this.#preferred = index;
        return result;
      }
    }
    return result;
  }

  async #post(address: string, body: Uint8Array, tenant: string): Promise<WriteResult> {
    try {
      const response = await fetch(`http://${address}/api/v1/receive`, {
        method: "POST",
        body,
        headers: {
          "content-type": "application/x-protobuf",
          "content-encoding": "snappy",
          "x-prometheus-remote-write-version": "0.1.0",
          ...(tenant === "" ? {} : { "thanos-tenant": tenant }),
        },
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      return { address, status: response.status, text: (await response.text()).trim() };
    } catch (error) {
      const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
      return { address, status: 0, text: cause instanceof Error ? cause.message : String(cause) };
    }
  }
}
