/**
 * Prometheus' remote read over all endpoints, copies and replicas made one: samples in one message, or chunks in a
 * stream of frames, as the client prefers.
 */

import { ByteWriter, snappyDecode, snappyEncode } from "@torus/encoding";
import { MatcherRegexError, type Queryable, type SeriesColumns } from "@torus/model";
import { MessageMalformedError, writeLabels } from "@torus/protocol";
import { encodeSamples, fromModelHistogram } from "@torus/tsdb";
import { ApiError } from "./api-error.ts";
import {
  chunkedFrame,
  chunkField,
  decodeReadRequest,
  type ReadQuery,
  type ReadRequest,
  ResponseType,
  writeTimeSeries,
} from "./remote-read-messages.ts";

export const MAX_READ_REQUEST_BYTES = 10 * 1024 * 1024;
/** Prometheus' --storage.remote.read-max-bytes-in-frame. */
const FRAME_BYTES = 1024 * 1024;

export type ReadContext = {
  data: Queryable;
  signal: AbortSignal;
  /** Told of bytes that are held from now on; throws when they are too many. */
  charge: (bytes: number) => void;
  /** Of an answer in one message; 0 for no limit. */
  maxSamples: number;
};

export type ReadAnswer = {
  contentType: string;
  contentEncoding: string | null;
  parts: AsyncIterable<Uint8Array>;
};

/** @param body As it came: a snappy block. @throws {ApiError} */
export async function remoteRead(body: Uint8Array, context: ReadContext): Promise<ReadAnswer> {
  const request = decoded(body);
  const [preferred] = request.acceptedTypes.filter(
    (type) => type === ResponseType.SAMPLES || type === ResponseType.STREAMED_XOR_CHUNKS,
  );
  if (preferred === undefined && request.acceptedTypes.length > 0) {
    throw new ApiError(
      "bad_data",
      `server does not support any of the requested response types: ${request.acceptedTypes.join(", ")}; supported: SAMPLES, STREAMED_XOR_CHUNKS`,
    );
  }
  if (preferred === ResponseType.STREAMED_XOR_CHUNKS) {
    return {
      contentType: "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse",
      contentEncoding: null,
      parts: frames(request.queries, context),
    };
  }
  const answer = await samples(request.queries, context);
  return {
    contentType: "application/x-protobuf",
    contentEncoding: "snappy",
    parts: (async function* () {
      yield answer;
    })(),
  };
}

function decoded(body: Uint8Array): ReadRequest {
  try {
    return decodeReadRequest(snappyDecode(body, MAX_READ_REQUEST_BYTES));
  } catch (error) {
    if (error instanceof MessageMalformedError || error instanceof MatcherRegexError) {
      throw new ApiError("bad_data", error.message, { cause: error });
    }
    const message = error instanceof Error ? error.message : String(error);
    throw new ApiError("bad_data", `decode the snappy block of a read request: ${message}`);
  }
}

async function* series(
  { mint, maxt, matchers, func, stepMs, rangeMs }: ReadQuery,
  { data, signal }: ReadContext,
): AsyncGenerator<SeriesColumns> {
  const batches = data.select({
    mint,
    maxt,
    matchers,
    skipChunks: false,
    limit: 0,
    signal,
    hints: { stepMs, rangeMs, func, grouping: [], by: false },
    // The protocol has no place for warnings, and half an answer would pass for a whole one.
    onWarning: (text) => {
      throw new ApiError("execution", text);
    },
  });
  for await (const batch of batches) yield* batch;
}

async function samples(queries: readonly ReadQuery[], context: ReadContext): Promise<Uint8Array> {
  const { charge, maxSamples } = context;
  const out = new ByteWriter(1 << 16);
  const result = new ByteWriter(1 << 16);
  let count = 0;
  for (const query of queries) {
    result.reset();
    for await (const each of series(query, context)) {
      count += each.timestamps.length;
      if (maxSamples > 0 && count > maxSamples) {
        throw new ApiError("bad_data", `exceeded sample limit (${maxSamples})`);
      }
      const before = result.length;
      writeTimeSeries(result, each);
      // In this result, in the message of all results, and packed.
      charge(3 * (result.length - before));
    }
    out.u8(0x0a);
    out.uvarint(result.length);
    out.bytes(result.written);
  }
  return snappyEncode(out.written);
}

async function* frames(
  queries: readonly ReadQuery[],
  context: ReadContext,
): AsyncGenerator<Uint8Array> {
  const out = new ByteWriter(1 << 16);
  for (const [index, query] of queries.entries()) {
    for await (const { labels, timestamps, values, histograms } of series(query, context)) {
      const times = BigInt64Array.from(timestamps, (ms) => BigInt(ms));
      // A copy: columns may begin anywhere, and words of 64 bits may not.
      const own = values.slice();
      const bits = new BigUint64Array(own.buffer);
      const chunks = runs(histograms, times.length).flatMap(({ from, to }) =>
        encodeSamples(
          {
            times: times.subarray(from, to),
            startTimes: null,
            values: bits.subarray(from, to),
            histograms:
              histograms?.[from] === undefined
                ? null
                : histograms
                    .slice(from, to)
                    .flatMap((each) => (each === undefined ? [] : [fromModelHistogram(each)])),
          },
          false,
        ),
      );
      out.reset();
      writeLabels(out, 1, labels);
      const labelBytes = out.length;
      for (const chunk of chunks) {
        if (out.length > labelBytes && out.length + chunk.data.length > FRAME_BYTES) {
          yield chunkedFrame(out.written, index);
          out.reset();
          writeLabels(out, 1, labels);
        }
        chunkField(out, chunk);
      }
      yield chunkedFrame(out.written, index);
    }
  }
}

/** Samples of one kind, floats or histograms, beside each other. */
function runs(
  histograms: SeriesColumns["histograms"],
  count: number,
): { from: number; to: number }[] {
  const out: { from: number; to: number }[] = [];
  for (let from = 0; from < count; ) {
    const isFloat = histograms?.[from] === undefined;
    let to = from + 1;
    while (to < count && (histograms?.[to] === undefined) === isFloat) to++;
    out.push({ from, to });
    from = to;
  }
  return out;
}
