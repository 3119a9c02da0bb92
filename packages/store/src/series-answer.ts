/**
 * The answer of StoreAPI's Series over several sources: their series relabelled, merged and written into messages.
 * Sources that all have their chunks as fields already (`selectEncoded`) are merged as bytes.
 */

import { xxh64 } from "@torus/encoding";
import { type Chunk, ChunkEncoding, type ChunkQueryable, type Labels } from "@torus/model";
import {
  AGGREGATES,
  type OutgoingChunk,
  PartialResponse,
  SeriesMessage,
  type SeriesRequest,
  type ShardInfo,
  sortedChunkFields,
  warningFrame,
} from "@torus/protocol";
import { type GrpcCall, GrpcError, GrpcStatus, REUSABLE_BYTES } from "@torus/server";
import { withoutStartTimes } from "@torus/tsdb";
import { AGGREGATE_ORDER, splitAggregates } from "./bucket/aggregates.ts";
import { FRAME_BYTES_HEADER, frameSize } from "./frame-size.ts";
import { mergeSeries, type SeriesOf, type SeriesStream } from "./merge.ts";
import { type Lasting, relabelSeries } from "./relabelled.ts";
import { matchExternal, overlaps, type StoreSource } from "./source.ts";
import { START_TIMES_HEADER, StartTimes } from "./start-times-header.ts";

export async function* seriesAnswer(
  sources: readonly StoreSource[],
  request: SeriesRequest,
  call: GrpcCall,
): AsyncGenerator<Uint8Array> {
  if (request.matchers.length === 0) {
    throw new GrpcError(
      GrpcStatus.INVALID_ARGUMENT,
      "no matchers specified (excluding selector labels)",
    );
  }
  const asked = sources.filter((source) => overlaps(source, request.minTime, request.maxTime));
  const isEncoded = asked.every(({ queryable }) => queryable.selectEncoded !== undefined);
  if (isEncoded && !request.skipChunks) {
    yield* messages<Uint8Array>(asked, request, call, {
      isStable: true,
      lasting: (chunks) => chunks.map((run) => Uint8Array.from(run)),
      select: ({ queryable }, select) =>
        (queryable.selectEncoded as NonNullable<ChunkQueryable["selectEncoded"]>)(select),
      write: (message, labels, chunks) =>
        message.addEncoded(labels, chunks.length > 1 ? [sortedChunkFields(chunks)] : chunks),
    });
    return;
  }
  yield* messages<Chunk>(asked, request, call, {
    isStable: false,
    lasting: (chunks) => chunks,
    select: ({ queryable }, select) => queryable.selectChunks(select),
    write: (message, labels, chunks) =>
      message.add(labels, outgoing(inTimeOrder(chunks), request.aggregates, takesAny(call))),
  });
}

/** How chunks of one kind are asked for and written. */
type Kind<C> = {
  /** A label set that comes again is the same array. */
  isStable: boolean;
  lasting: Lasting<C>;
  select: (
    source: StoreSource,
    select: Parameters<StoreSource["queryable"]["selectChunks"]>[0],
  ) => SeriesStream<C>;
  write: (message: SeriesMessage, labels: Labels, chunks: readonly C[]) => void;
};

async function* messages<C>(
  sources: readonly StoreSource[],
  request: SeriesRequest,
  call: GrpcCall,
  kind: Kind<C>,
): AsyncGenerator<Uint8Array> {
  const without = new Set(request.withoutReplicaLabels);
  const warnings: string[] = [];
  const abort =
    request.partialResponseDisabled || request.partialResponseStrategy === PartialResponse.ABORT;
  const streams: SeriesStream<C>[] = [];
  for (const source of sources) {
    const matchers = matchExternal(source.labels, request.matchers);
    if (matchers === null) continue;
    const stream = sourceSeries(source, request, matchers, without, call, kind);
    streams.push(abort ? aborting(stream) : warned(stream, warnings));
  }
  const size = frameSize(call.metadata.get(FRAME_BYTES_HEADER), request.responseBatchSize);
  const message = new SeriesMessage(size.series > 1);
  let total = 0;
  const [only] = streams;
  const merged =
    only !== undefined && streams.length === 1
      ? only
      : mergeSeries(streams.map((stream) => lastingStream(stream, kind.lasting)));
  for await (const batch of merged) {
    for (const { labels, chunks } of batch) {
      if (request.shardInfo !== null && !inShard(labels, request.shardInfo)) continue;
      kind.write(message, labels, chunks);
      total++;
      const atLimit = request.limit > 0 && total >= request.limit;
      if (message.count >= size.series || message.length >= size.bytes || atLimit) {
        yield message.take(message.length >= REUSABLE_BYTES);
      }
      if (atLimit) return;
    }
  }
  if (message.count > 0) yield message.take();
  for (const warning of warnings) yield warningFrame(warning);
}

/** Merging holds series back while it asks for more. */
async function* lastingStream<C>(
  stream: SeriesStream<C>,
  lasting: Lasting<C>,
): AsyncGenerator<readonly SeriesOf<C>[]> {
  for await (const batch of stream) {
    yield batch.map(({ labels, chunks }) => ({ labels, chunks: lasting(chunks) }));
  }
}

async function* sourceSeries<C>(
  source: StoreSource,
  request: SeriesRequest,
  matchers: SeriesRequest["matchers"],
  without: ReadonlySet<string>,
  call: GrpcCall,
  kind: Kind<C>,
): AsyncGenerator<readonly SeriesOf<C>[]> {
  if (matchers.length === 0) {
    throw new GrpcError(
      GrpcStatus.INVALID_ARGUMENT,
      "no matchers specified (excluding external labels)",
    );
  }
  const range = { mint: request.minTime, maxt: request.maxTime, signal: call.signal };
  // One more look at the names decides between streaming and sorting all in memory.
  const own = new Set(await source.queryable.labelNames({ ...range, matchers: [], limit: 0 }));
  const touchesOwnLabels =
    [...without].some((name) => own.has(name)) ||
    source.labels.some((name, i) => i % 2 === 0 && own.has(name));
  const found = kind.select(source, {
    ...range,
    matchers,
    skipChunks: request.skipChunks,
    anyEncoding: takesAny(call),
    startTimes: call.metadata.get(START_TIMES_HEADER) === StartTimes.WANTED,
    // Our own query nodes take the union.
    disjoint: call.metadata.get(FRAME_BYTES_HEADER) === undefined,
    // Before sorting, sharding and merging, nobody knows which series are the first.
    limit: touchesOwnLabels || request.shardInfo !== null ? 0 : request.limit,
  });
  const { isStable } = kind;
  const relabelling = { external: source.labels, without, touchesOwnLabels, isStable };
  yield* relabelSeries(found, relabelling, kind.lasting);
}

/** A stream whose failure ends that stream only, and is told at the end. */
async function* warned<T>(stream: AsyncIterable<T>, warnings: string[]): AsyncGenerator<T> {
  try {
    yield* stream;
  } catch (error) {
    warnings.push(messageOf(error));
  }
}

async function* aborting<T>(stream: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* stream;
  } catch (error) {
    if (error instanceof GrpcError) throw error;
    throw new GrpcError(GrpcStatus.ABORTED, messageOf(error), { cause: error });
  }
}

export function messageOf(error: unknown): string {
  if (error instanceof GrpcError) {
    const name =
      Object.entries(GrpcStatus).find(([, code]) => code === error.code)?.[0] ?? "UNKNOWN";
    return `rpc error: code = ${goCodeName(name)} desc = ${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** INVALID_ARGUMENT as Go prints it: InvalidArgument. */
function goCodeName(name: string): string {
  return name
    .split("_")
    .map((word) => word.charAt(0) + word.slice(1).toLowerCase())
    .join("");
}

/** The chunks of several sources, as one reader wants them. */
function inTimeOrder<C extends Chunk>(chunks: readonly C[]): readonly C[] {
  for (let i = 1; i < chunks.length; i++) {
    const a = chunks[i - 1] as C;
    const b = chunks[i] as C;
    if (a.minTime > b.minTime)
      return [...chunks].sort((x, y) => x.minTime - y.minTime || x.maxTime - y.maxTime);
  }
  return chunks;
}

function takesAny({ metadata }: GrpcCall): boolean {
  const value = metadata.get(START_TIMES_HEADER);
  return value === StartTimes.STORED || value === StartTimes.WANTED;
}

/** Chunks of aggregates as the aggregates that were asked for; others as StoreAPI has them, unless any are taken. */
function outgoing(
  chunks: readonly Chunk[],
  wanted: readonly number[],
  anyEncoding: boolean,
): readonly OutgoingChunk[] {
  if (!chunks.some(({ encoding }) => encoding > ChunkEncoding.FLOAT_HISTOGRAM)) return chunks;
  return chunks.map((chunk): OutgoingChunk => {
    // StoreAPI has no number for encodings with start timestamps.
    if (chunk.encoding !== ChunkEncoding.AGGREGATE) {
      return anyEncoding ? chunk : withoutStartTimes(chunk);
    }
    const split = splitAggregates(chunk.data);
    const parts = AGGREGATE_ORDER.flatMap((aggregate) => {
      const part = split[aggregate];
      const isWanted = wanted.includes(AGGREGATES.indexOf(aggregate));
      return part === undefined || !isWanted ? [] : [{ aggregate, ...part }];
    });
    return { ...chunk, parts };
  });
}

const SEPARATOR = Uint8Array.of(0xff);

/** XXH64 of the chosen labels, name ff value ff each, modulo the number of shards. */
function inShard(
  labels: Labels,
  { shardIndex, totalShards, by, labels: chosen }: ShardInfo,
): boolean {
  if (totalShards < 2) return true;
  const names = new Set(chosen);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < labels.length; i += 2) {
    if (names.has(labels[i] as string) !== by) continue;
    parts.push(
      Buffer.from(labels[i] as string),
      SEPARATOR,
      Buffer.from(labels[i + 1] as string),
      SEPARATOR,
    );
  }
  return Number(xxh64(Buffer.concat(parts)) % BigInt(totalShards)) === shardIndex;
}
