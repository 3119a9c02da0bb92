/** The demo's scraper and writer against real listeners. */

import http from "node:http";
import type { AddressInfo } from "node:net";
import { snappyDecode } from "@torus/encoding";
import { formatLabels, isStale, wordsOf } from "@torus/model";
import type { WriteSeries } from "@torus/protocol";
import { afterAll, expect, test } from "vitest";
import { RemoteWriter } from "./remote-write.ts";
import { Scraper } from "./scrape.ts";

const servers: http.Server[] = [];
afterAll(() => {
  for (const server of servers) server.close();
});

async function serve(handler: http.RequestListener): Promise<string> {
  const server = http.createServer(handler);
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Each series as `labels value`, the marker as "stale". */
function shown(series: readonly WriteSeries[]): string[] {
  return series
    .map(({ labels, values }) => {
      const value = isStale(wordsOf(values), 0) ? "stale" : String(values[0]);
      return `${formatLabels(labels)} ${value}`;
    })
    .filter((line) => !line.startsWith("scrape_duration_seconds"));
}

test("a scrape adds job and instance, and marks what is gone as stale", async () => {
  let body: string | undefined = 'a{job="own"} 1\nb 2\nb 3\n';
  const address = await serve((_, response) => {
    response.statusCode = body === undefined ? 500 : 200;
    response.end(body);
  });
  const scraper = new Scraper({ job: "receive", address }, 5000, () => 1000);
  const target = `instance="${address}", job="receive"`;
  expect(shown(await scraper.scrape())).toStrictEqual([
    `a{exported_job="own", ${target}} 1`,
    `b{${target}} 2`,
    `up{${target}} 1`,
    `scrape_samples_scraped{${target}} 3`,
  ]);
  body = "b 4\n";
  expect(shown(await scraper.scrape())).toStrictEqual([
    `b{${target}} 4`,
    `a{exported_job="own", ${target}} stale`,
    `up{${target}} 1`,
    `scrape_samples_scraped{${target}} 1`,
  ]);
  body = undefined;
  expect(shown(await scraper.scrape())).toStrictEqual([
    `b{${target}} stale`,
    `up{${target}} 0`,
    `scrape_samples_scraped{${target}} 0`,
  ]);
});

test("a write goes to the next receiver on 503 or no answer, stays there, and is not repeated on 409", async () => {
  const asked: string[] = [];
  let [first, second] = [503, 204];
  const receiver = (name: string, status: () => number) =>
    serve((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const { length } = snappyDecode(Buffer.concat(chunks), 1 << 20);
        asked.push(`${name} ${length}`);
        response.statusCode = status();
        response.end("why\n");
      });
    });
  const a = await receiver("a", () => first);
  const b = await receiver("b", () => second);
  const writer = new RemoteWriter(["127.0.0.1:1", a, b], 5000);
  const series = [
    { labels: ["__name__", "x"], timestamps: Float64Array.of(1), values: Float64Array.of(1) },
  ];
  expect(await writer.write(series)).toStrictEqual({ address: b, status: 204, text: "" });
  second = 409;
  expect(await writer.write(series)).toStrictEqual({ address: b, status: 409, text: "why" });
  second = 500;
  first = 204;
  expect(await writer.write(series)).toStrictEqual({ address: a, status: 204, text: "" });
  const size = asked[0]?.split(" ")[1];
  expect(asked).toStrictEqual(["a", "b", "b", "b", "a"].map((name) => `${name} ${size}`));
});
