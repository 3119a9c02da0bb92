/**
 * In which format `/federate` answers and how names that only UTF-8 allows are written in it, by the Accept header:
 * Prometheus' text (0.0.4) or its protobuf messages with lengths between, as Prometheus' `expfmt` negotiates them.
 */

/** How names that only UTF-8 allows are written for a client (escaping=… of the Accept header). */
export type NameEscaping = "underscores" | "dots" | "values" | "allow-utf-8";

export type FederateFormat = { kind: "text" | "protobuf"; escaping: NameEscaping };

const PROTOBUF = "application/vnd.google.protobuf";
const MESSAGE = "io.prometheus.client.MetricFamily";
const ESCAPINGS: ReadonlySet<string> = new Set(["underscores", "dots", "values", "allow-utf-8"]);

export function contentTypeOf({ kind, escaping }: FederateFormat): string {
  const type =
    kind === "text"
      ? "text/plain; version=0.0.4; charset=utf-8"
      : `${PROTOBUF}; proto=${MESSAGE}; encoding=delimited`;
  return `${type}; escaping=${escaping}`;
}

/**
 * The first that the client prefers of what there is, text when it names nothing of it. The escaping is that of the
 * type chosen or of the last one preferred to it.
 */
export function federateFormat(accept: string): FederateFormat {
  let escaping: NameEscaping = "underscores";
  for (const { type, parameters } of mediaTypes(accept)) {
    const wanted = parameters.get("escaping") ?? "";
    if (ESCAPINGS.has(wanted)) escaping = wanted as NameEscaping;
    const isFamilies =
      type === PROTOBUF &&
      parameters.get("proto") === MESSAGE &&
      parameters.get("encoding") === "delimited";
    if (isFamilies) return { kind: "protobuf", escaping };
    const version = parameters.get("version") ?? "";
    if (type === "text/plain" && (version === "" || version === "0.0.4")) break;
  }
  return { kind: "text", escaping };
}

type MediaType = { type: string; parameters: ReadonlyMap<string, string>; quality: number };

/** As preferred by the client. */
function mediaTypes(accept: string): MediaType[] {
  const all = accept.split(",").map((each): MediaType => {
    const [type = "", ...rest] = each.split(";").map((part) => part.trim());
    const parameters = new Map<string, string>();
    for (const part of rest) {
      const [name = "", value = ""] = part.split("=");
      parameters.set(name.trim().toLowerCase(), value.trim().replace(/^"(.*)"$/, "$1"));
    }
    const quality = Number(parameters.get("q") ?? 1);
    return { type: type.toLowerCase(), parameters, quality: Number.isNaN(quality) ? 1 : quality };
  });
  return all.filter(({ quality }) => quality > 0).sort((a, b) => b.quality - a.quality);
}
