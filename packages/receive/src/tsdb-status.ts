/**
 * `GET /api/v1/status/tsdb` on the port of remote write, as Thanos' receive has it: what is in the heads of one tenant
 * (of the tenant header) or of all (`all_tenants=true`), each in the form of Prometheus' page of that name.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { errorText, mayUseTenant, type RawHandler } from "@torus/server";
import type { Counted, HeadStatistics } from "@torus/tsdb";
import { checkTenantName } from "./tenant-name.ts";
import type { Tenant, Tenants } from "./tenants.ts";

export type TsdbStatusOptions = {
  /** Null on a router: it has no heads. */
  tenants: Tenants | null;
  tenantHeader: string;
  defaultTenant: string;
};

const LIMIT = 10;
const MOST_LIMIT = 10_000;
/** What Prometheus says of a head without samples: the largest and the smallest 64-bit integer. */
const NO_MIN_TIME = "9223372036854775807";
const NO_MAX_TIME = "-9223372036854775808";

class StatusError extends Error {
  readonly status: 400 | 403;
  constructor(status: 400 | 403, message: string) {
    super(message);
    this.status = status;
  }
}

export function tsdbStatusHandler(options: TsdbStatusOptions): RawHandler {
  return async (request, response) => {
    try {
      const { tenants, limit } = asked(options, request);
      const found: string[] = [];
      for (const { name, db } of tenants)
        found.push(tenantJson(name, await db.head.statistics(limit)));
      answer(response, 200, `{"status":"success","data":[${found.join(",")}]}`);
    } catch (error) {
      const status = error instanceof StatusError ? error.status : 500;
      const errorType = status === 500 ? "internal" : "bad_data";
      answer(
        response,
        status,
        JSON.stringify({ status: "error", errorType, error: errorText(error) }),
      );
    }
  };
}

/** @throws {StatusError} */
function asked(
  { tenants, tenantHeader, defaultTenant }: TsdbStatusOptions,
  request: IncomingMessage,
): { tenants: Tenant[]; limit: number } {
  const query = new URL(request.url ?? "/", "http://localhost").searchParams;
  const text = query.get("limit") ?? "";
  const limit = text === "" ? LIMIT : Number(text);
  if (!/^\d*$/.test(text) || limit < 1 || limit > MOST_LIMIT) {
    throw new StatusError(400, `limit must be a number from 1 to ${MOST_LIMIT}`);
  }
  const given = request.headers[tenantHeader.toLowerCase()];
  const named = (Array.isArray(given) ? given[0] : given) ?? "";
  if (query.get("all_tenants") === "true") {
    if (named !== "") {
      const both = `both the all_tenants parameter and the ${tenantHeader} header`;
      throw new StatusError(400, `using ${both} is not supported`);
    }
    const all = tenants?.list() ?? [];
    return { tenants: all.filter(({ name }) => mayUseTenant(request, name)), limit };
  }
  const name = named || defaultTenant;
  try {
    checkTenantName(name);
  } catch (error) {
    throw new StatusError(400, errorText(error));
  }
  if (!mayUseTenant(request, name)) {
    throw new StatusError(403, `not allowed to read of tenant ${name}`);
  }
  const tenant = tenants?.peek(name);
  return { tenants: tenant === undefined ? [] : [tenant], limit };
}

function tenantJson(tenant: string, found: HeadStatistics): string {
  const { minTime, maxTime } = found;
  const head = [
    `"numSeries":${found.series}`,
    `"numLabelPairs":${found.labelPairs}`,
    `"chunkCount":${found.chunks}`,
    `"minTime":${Number.isFinite(minTime) ? minTime : NO_MIN_TIME}`,
    `"maxTime":${Number.isFinite(maxTime) ? maxTime : NO_MAX_TIME}`,
  ];
  const lists: [string, Counted[]][] = [
    ["seriesCountByMetricName", found.seriesByMetric],
    ["labelValueCountByLabelName", found.valuesByLabel],
    ["memoryInBytesByLabelName", found.bytesByLabel],
    ["seriesCountByLabelValuePair", found.seriesByPair],
  ];
  const entries = (list: Counted[]) =>
    JSON.stringify(list.map(([name, value]) => ({ name, value })));
  const fields = lists.map(([name, list]) => `"${name}":${entries(list)}`);
  return `{"tenant":${JSON.stringify(tenant)},"headStats":{${head.join(",")}},${fields.join(",")}}`;
}

function answer(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { "content-type": "application/json" }).end(text);
}
