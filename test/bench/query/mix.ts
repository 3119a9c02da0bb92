/** Queries as dashboards and alerts ask them, over the names and labels of `load/population.ts`. */

export type MixQuery = {
  name: string;
  expression: string;
  /** Seconds; 0 for an instant query, like `step`. */
  range: number;
  step: number;
};

const HOUR = 3600;
const DAY = 24 * HOUR;

function range(name: string, seconds: number, step: number, expression: string): MixQuery {
  return { name, expression, range: seconds, step };
}

function instant(name: string, expression: string): MixQuery {
  return { name, expression, range: 0, step: 0 };
}

export const MIX: readonly MixQuery[] = [
  range("sum_rate_by_job", DAY, 60, "sum by (job) (rate(http_requests_total[5m]))"),
  range("sum_rate_by_job_6h", 6 * HOUR, 15, "sum by (job) (rate(http_requests_total[5m]))"),
  range("topk_rate", DAY, 300, "topk(5, rate(node_network_receive_bytes_total[5m]))"),
  range(
    "hist_quantile_all",
    DAY,
    60,
    "histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))",
  ),
  range(
    "hist_quantile_by_job",
    DAY,
    300,
    "histogram_quantile(0.9, sum by (le, job) (rate(http_request_duration_seconds_bucket[5m])))",
  ),
  range(
    "group_left_join",
    DAY,
    300,
    "sum by (version, namespace) (rate(http_requests_total[5m]) * on (pod, namespace) group_left (version) app_build_info)",
  ),
  range(
    "error_ratio",
    DAY,
    60,
    'sum by (namespace) (rate(http_requests_total{code=~"5.."}[5m])) / sum by (namespace) (rate(http_requests_total[5m]))',
  ),
  range("quantile_gauge", DAY, 60, "quantile by (job) (0.9, container_memory_working_set_bytes)"),
  range("avg_over_time_1h", DAY, 300, "avg_over_time(go_goroutines[1h])"),
  range(
    "max_over_time_mem",
    DAY,
    300,
    "max by (namespace) (max_over_time(process_resident_memory_bytes[30m]))",
  ),
  range("absent_down", DAY, 60, 'absent(up{job="no-such-job"}) or (up == 0)'),
  range(
    "label_replace",
    DAY,
    300,
    'sum by (short) (label_replace(queue_depth, "short", "$1", "pod", "([a-z]+)-.*"))',
  ),
  range(
    "subquery",
    6 * HOUR,
    300,
    "max_over_time(sum by (job) (rate(http_requests_total[5m]))[30m:1m])",
  ),
  range("raw_2k_range_1h", HOUR, 15, '{cluster=~".+"}'),
  range("raw_2k_range_24h", DAY, 300, '{cluster=~".+"}'),
  instant("last_1h_instant", 'sum by (job) (last_over_time({__name__=~".+_total"}[1h]))'),
  instant("inst_2k", '{job!=""}'),
  instant("inst_sum_rate", "sum by (job) (rate(http_requests_total[5m]))"),
  instant("count_by_name", 'count by (__name__) ({__name__!=""})'),
];
