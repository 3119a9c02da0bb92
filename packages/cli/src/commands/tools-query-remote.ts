/** `torus tools query` against a server: requests of the Prometheus HTTP API, and its answers as they are shown. */

import { type Labels, labelsFromObject } from "@torus/model";
import type { Answer, ShownHistogram, ShownSeries } from "./tools-query-format.ts";

/** The server said why it has no answer, or gave none that can be read. */
export class QueryApiError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "QueryApiError";
  }
}

type HistogramJson = { count: string; sum: string; buckets?: [number, string, string, string][] };
type SeriesJson = {
  metric: Record<string, string>;
  value?: [number, string];
  values?: [number, string][];
  histogram?: [number, HistogramJson];
  histograms?: [number, HistogramJson][];
};
type Envelope = {
  status: string;
  errorType?: string;
  error?: string;
  warnings?: string[];
  data?: unknown;
};

export class RemoteApi {
  readonly #base: string;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #onWarning: (text: string) => void;

  /** @param server A URL, or a host and port. */
  constructor(
    server: string,
    headers: Readonly<Record<string, string>>,
    onWarning: (text: string) => void,
  ) {
    this.#base = (/^https?:\/\//.test(server) ? server : `http://${server}`).replace(/\/+$/, "");
    this.#headers = headers;
    this.#onWarning = onWarning;
  }

  /** @throws {QueryApiError} */
  async query(kind: "query" | "query_range", form: URLSearchParams): Promise<Answer> {
    const data = (await this.#post(kind, form)) as { resultType: string; result: unknown };
    switch (data.resultType) {
      case "vector":
      case "matrix":
        return { type: data.resultType, series: (data.result as SeriesJson[]).map(seriesOf) };
      case "scalar": {
        const [time, value] = data.result as [number, string];
        return { type: "scalar", timestampMs: ms(time), value: numberOf(value) };
      }
      case "string": {
        const [time, value] = data.result as [number, string];
        return { type: "string", timestampMs: ms(time), value };
      }
      default:
        throw new QueryApiError(`bad_response: unexpected value type ${data.resultType}`);
    }
  }

  /** @throws {QueryApiError} */
  async series(form: URLSearchParams): Promise<Labels[]> {
    const found = (await this.#post("series", form)) as Record<string, string>[];
    return found.map(labelsFromObject);
  }

  /** @throws {QueryApiError} */
  async labelValues(name: string, form: URLSearchParams): Promise<string[]> {
    const path = `label/${encodeURIComponent(name)}/values?${form.toString()}`;
    return (await this.#ask(path, { method: "GET" })) as string[];
  }

  #post(path: string, form: URLSearchParams): Promise<unknown> {
    return this.#ask(path, { method: "POST", body: form });
  }

  async #ask(path: string, request: { method: string; body?: URLSearchParams }): Promise<unknown> {
    let status: number;
    let text: string;
    try {
      const response = await fetch(`${this.#base}/api/v1/${path}`, {
        ...request,
        headers: this.#headers,
      });
      ({ status } = response);
      text = await response.text();
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
      const what = cause instanceof Error ? cause.message : String(cause);
      throw new QueryApiError(`${request.method} ${this.#base}/api/v1/${path}: ${what}`, {
        cause: error,
      });
    }
    const envelope = parsed(text);
    if (envelope === null) {
      throw new QueryApiError(
        status >= 500
          ? `server_error: server error: ${status}`
          : `client_error: client error: ${status}`,
      );
    }
    if (envelope.status !== "success") {
      throw new QueryApiError(`${envelope.errorType ?? ""}: ${envelope.error ?? ""}`);
    }
    for (const warning of envelope.warnings ?? []) this.#onWarning(warning);
    return envelope.data;
  }
}

function parsed(text: string): Envelope | null {
  try {
    const envelope = JSON.parse(text) as Envelope | null;
    return typeof envelope?.status === "string" ? envelope : null;
  } catch {
    return null;
  }
}

function ms(seconds: number): number {
  return Math.round(seconds * 1000);
}

function numberOf(text: string): number {
  return Number(/^[+-]?Inf$/.test(text) ? text.replace("Inf", "Infinity") : text);
}

function seriesOf(json: SeriesJson): ShownSeries {
  const floats = json.values ?? (json.value === undefined ? [] : [json.value]);
  const histograms = json.histograms ?? (json.histogram === undefined ? [] : [json.histogram]);
  const samples: { at: number; value: number; histogram: ShownHistogram | undefined }[] = [
    ...floats.map(([at, value]) => ({ at: ms(at), value: numberOf(value), histogram: undefined })),
    ...histograms.map(([at, h]) => ({ at: ms(at), value: 0, histogram: histogramOf(h) })),
  ].sort((a, b) => a.at - b.at);
  return {
    labels: labelsFromObject(json.metric),
    timestamps: samples.map(({ at }) => at),
    values: samples.map(({ value }) => value),
    histograms: histograms.length === 0 ? null : samples.map(({ histogram }) => histogram),
  };
}

function histogramOf({ count, sum, buckets = [] }: HistogramJson): ShownHistogram {
  return {
    count: numberOf(count),
    sum: numberOf(sum),
    buckets: buckets.map(([bounds, lower, upper, in_]) => ({
      bounds,
      lower: numberOf(lower),
      upper: numberOf(upper),
      count: numberOf(in_),
    })),
  };
}
