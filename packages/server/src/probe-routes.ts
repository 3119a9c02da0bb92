/** `/-/healthy`, `/-/ready` and `/metrics`, as Thanos answers them. */

import type { Express } from "express";
import type { Registry } from "prom-client";
import type { Probe } from "./probe.ts";

export function mountProbe(app: Express, probe: Probe, metrics: Registry): void {
  app.get("/-/healthy", (_, response) => {
    response.type("text/plain").send("OK\n");
  });
  app.get("/-/ready", (_, response) => {
    response.type("text/plain");
    if (probe.isReady) response.send("OK\n");
    else
      response
        .status(503)
        .set("retry-after", "5")
        .send(`component is not ready: ${probe.reason}\n`);
  });
  app.get("/metrics", async (_, response) => {
    const text = await metrics.metrics();
    response.set("content-type", metrics.contentType).send(text);
  });
}
