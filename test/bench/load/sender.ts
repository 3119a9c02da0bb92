/**
 * Sends remote write requests that were built before the clock starts, over a few kept-alive connections,
 * and remembers how long each took.
 */

import http from "node:http";

export type SendResult = {
  /** Milliseconds of each request, ascending. */
  latenciesMs: Float64Array;
  wallMs: number;
};

export class UnexpectedStatusError extends Error {
  readonly status: number;
  constructor(status: number, body: string) {
    super(`remote write answered ${status}: ${body.slice(0, 200)}`);
    this.name = "UnexpectedStatusError";
    this.status = status;
  }
}

function post(url: URL, agent: http.Agent, body: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = http.request(
      url,
      {
        agent,
        method: "POST",
        headers: {
          "content-encoding": "snappy",
          "content-type": "application/x-protobuf",
          "x-prometheus-remote-write-version": "0.1.0",
          "content-length": body.length,
        },
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => (text += part));
        response.on("end", () => {
          const status = response.statusCode ?? 0;
          if (status >= 200 && status < 300) resolve();
          else reject(new UnexpectedStatusError(status, text));
        });
      },
    );
    request.on("error", reject);
    request.end(body);
  });
}

/** Spreads the bodies, in order, over `connections` senders; to `urls` in turn. */
export async function send(
  urls: readonly string[],
  bodies: readonly Uint8Array[],
  connections: number,
): Promise<SendResult> {
  const agent = new http.Agent({ keepAlive: true, maxSockets: connections });
  const targets = urls.map((url) => new URL(url));
  const latencies: number[] = [];
  let next = 0;
  const start = performance.now();
  const work = async () => {
    while (next < bodies.length) {
      const index = next++;
      const sent = performance.now();
      await post(targets[index % targets.length] as URL, agent, bodies[index] as Uint8Array);
      latencies.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: connections }, work));
  const wallMs = performance.now() - start;
  agent.destroy();
  return { latenciesMs: Float64Array.from(latencies).sort(), wallMs };
}
