/**
 * A small scraper: reads targets' `/metrics` and turns each scrape into series with `job`, `instance`, `up` and
 * staleness markers for what is gone, as Prometheus does. It keeps what the last scrape of a target had.
 */

import { type Labels, labelsFromPairs, labelValue, METRIC_NAME, setStale } from "@torus/model";
import type { WriteSeries } from "@torus/protocol";
import { type ExposedSample, parseExposition } from "./exposition.ts";

export type ScrapeTarget = {
  job: string;
  /** host:port, which is also the label `instance`. */
  address: string;
};

/** An answer above this is a failed scrape. */
const MAX_BODY_BYTES = 16 << 20;

export class Scraper {
  readonly #target: ScrapeTarget;
  readonly #timeoutMs: number;
  readonly #now: () => number;
  /** The series of the last scrape by their text. */
  #last = new Map<string, Labels>();

  constructor(target: ScrapeTarget, timeoutMs: number, now: () => number) {
    this.#target = target;
    this.#timeoutMs = timeoutMs;
    this.#now = now;
  }

  /** One scrape. A target that does not answer gives `up 0` and markers. Never rejects. */
  async scrape(): Promise<WriteSeries[]> {
    const at = this.#now();
    let samples: ExposedSample[] = [];
    let up = 1;
    try {
      samples = parseExposition(await this.#read());
    } catch {
      // Why it failed, the target's own log tells; `up` is what a scrape says about it.
      up = 0;
    }
    const seconds = (this.#now() - at) / 1000;
    return this.#series(samples, up, seconds, at);
  }

  async #read(): Promise<string> {
    const response = await fetch(`http://${this.#target.address}/metrics`, {
      headers: { accept: "text/plain;version=0.0.4" },
      signal: AbortSignal.timeout(this.#timeoutMs),
    });
    const text = await response.text();
    if (!response.ok || text.length > MAX_BODY_BYTES) throw new Error(`HTTP ${response.status}`);
    return text;
  }

  #series(samples: readonly ExposedSample[], up: number, seconds: number, at: number) {
    const series: WriteSeries[] = [];
    const seen = new Map<string, Labels>();
    for (const { labels, value, timestamp } of samples) {
      const full = this.#withTarget(labels);
      const key = JSON.stringify(full);
      // A target that exposes a series twice is wrong; the first value counts.
      if (seen.has(key)) continue;
      seen.set(key, full);
      series.push(one(full, timestamp ?? at, value));
    }
    for (const [key, labels] of this.#last) {
      if (seen.has(key)) continue;
      const stale = one(labels, at, 0);
      setStale(stale.values, 0);
      series.push(stale);
    }
    this.#last = seen;
    series.push(
      one(this.#withTarget([METRIC_NAME, "up"]), at, up),
      one(this.#withTarget([METRIC_NAME, "scrape_duration_seconds"]), at, seconds),
      one(this.#withTarget([METRIC_NAME, "scrape_samples_scraped"]), at, samples.length),
    );
    return series;
  }

  /** The target's labels win, and the exposed ones of that name move to `exported_…`. */
  #withTarget(labels: Labels): Labels {
    const { job, address } = this.#target;
    const pairs: [string, string][] = [
      ["job", job],
      ["instance", address],
    ];
    for (let i = 0; i < labels.length; i += 2) {
      const name = labels[i] as string;
      const value = labels[i + 1] as string;
      const taken = (name === "job" || name === "instance") && labelValue(labels, name) !== "";
      pairs.push([taken ? `exported_${name}` : name, value]);
    }
    return labelsFromPairs(pairs);
  }
}

function one(labels: Labels, at: number, value: number): WriteSeries {
  return { labels, timestamps: Float64Array.of(at), values: Float64Array.of(value) };
}
