/**
 * What `/federate` answers in protobuf: untyped samples, and native histograms as histograms of floats, which nothing
 * but this format can carry.
 */

import { labelValue } from "@torus/model";
import { MetricFamilyWriter, type MetricType } from "@torus/protocol";
import type { NameEscaping } from "./federate-format.ts";
import { escapedName, LEGACY_METRIC, type Newest, ownLabels } from "./federate-labels.ts";

/** The families, one at a time. @param all Ascending by name. */
export function* federateProtobuf(
  all: readonly Newest[],
  escaping: NameEscaping,
): Generator<Uint8Array> {
  const writer = new MetricFamilyWriter();
  let family = "";
  for (const { labels, timeMs, value, histogram } of all) {
    const name = labelValue(labels, "__name__");
    const type: MetricType =
      histogram === undefined
        ? "untyped"
        : histogram.counterResetHint === "gauge"
          ? "gaugehistogram"
          : "histogram";
    if (family !== `${type} ${name}`) {
      if (family !== "") yield writer.finish();
      family = `${type} ${name}`;
      writer.start(escapedName(name, escaping, LEGACY_METRIC), type);
    }
    writer.metric({ labels: ownLabels(labels, escaping), timestampMs: timeMs, value, histogram });
  }
  if (family !== "") yield writer.finish();
}
