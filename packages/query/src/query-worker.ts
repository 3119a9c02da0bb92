/**
 * The program of a query thread. It owns its connections to the endpoints, runs one job at a time and sends the
 * answer's bytes as they are written, at most WINDOW parts ahead of the client. See query-job.ts for the messages.
 */

import { parentPort, workerData } from "node:worker_threads";
import type { Queryable } from "@torus/model";
import type { GrpcClient } from "@torus/server";
import { Endpoint, type EndpointState, openSeriesClient, ProxyQueryable } from "@torus/store";
import { apiError } from "./api-error.ts";
import { ByteBudget, SharedBytes } from "./byte-budget.ts";
import {
  type FromThread,
  type QueryJob,
  type ThreadStart,
  type ToThread,
  WHOLE_BYTES,
  WINDOW,
} from "./query-job.ts";
import { runTask } from "./run-task.ts";

const port = parentPort;
if (port === null) throw new Error("query-worker.ts runs in a worker thread only");
const { settings, slots, slot } = workerData as ThreadStart;
const shared = new SharedBytes(settings.maxTotalBytes, slots);
/** Connections by endpoint, the one that was used last at the end. */
const clients = new Map<string, { client: GrpcClient; usedAtMs: number }>();
/** Of an endpoint that is no longer there. */
const UNUSED_MS = 600_000;

type Running = { abort: AbortController; credits: number; wake: () => void };
const running = new Map<number, Running>();

function send(message: FromThread, transfer: ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer);
}

function clientOf(state: EndpointState): GrpcClient {
  const { address, tls, generation } = state;
  const key = JSON.stringify([address, tls, generation]);
  const client = clients.get(key)?.client ?? openSeriesClient(state, settings.maxMessageBytes);
  clients.delete(key);
  clients.set(key, { client, usedAtMs: Date.now() });
  return client;
}

function closeUnused(): void {
  for (const [key, { client, usedAtMs }] of clients) {
    if (Date.now() - usedAtMs < UNUSED_MS) return;
    client.close();
    clients.delete(key);
  }
}

function endpointOf(state: EndpointState): Endpoint {
  const endpoint = new Endpoint(clientOf(state), state);
  endpoint.info = state.info;
  endpoint.lastError = state.lastError;
  return endpoint;
}

function dataOf(
  { data }: QueryJob,
  endpoints: readonly EndpointState[],
  budget: ByteBudget,
): Queryable {
  return new ProxyQueryable({
    endpoints: endpoints.map(endpointOf),
    dedup: data.dedup,
    ringReplicaLabels: settings.ringReplicaLabels,
    replicaLabels: data.replicaLabels ?? settings.replicaLabels,
    algorithm: settings.algorithm,
    partialResponse: data.partialResponse,
    spareReplicas: settings.spareReplicas,
    responseTimeoutMs: settings.responseTimeoutMs,
    maxResolutionMs: data.maxResolutionMs,
    tenant: data.tenant,
    charge: budget.storage,
  });
}

async function run(id: number, job: QueryJob, endpoints: readonly EndpointState[]): Promise<void> {
  const abort = new AbortController();
  const self: Running = { abort, credits: WINDOW, wake: () => undefined };
  running.set(id, self);
  const budget = new ByteBudget(settings.maxBytes, shared, slot);
  try {
    const { parts, ...head } = await runTask(job.task, {
      data: dataOf(job, endpoints, budget),
      settings,
      timeoutMs: job.timeoutMs,
      askedAtMs: job.askedAtMs,
      budget,
      signal: abort.signal,
      now: Date.now,
    });
    /** What was not sent yet; null when the answer is sent in parts. */
    let held: Uint8Array[] | null = [];
    let heldBytes = 0;
    const sendNext = async (part: Uint8Array): Promise<void> => {
      while (self.credits === 0) await new Promise<void>((resolve) => (self.wake = resolve));
      abort.signal.throwIfAborted();
      self.credits--;
      sendPart(id, part);
    };
    for await (const part of parts) {
      heldBytes += part.length;
      if (held === null) await sendNext(part);
      else {
        held.push(part);
        if (heldBytes <= WHOLE_BYTES) continue;
        send({ type: "head", id, ...head });
        for (const each of held) await sendNext(each);
        held = null;
      }
    }
    if (held === null) send({ type: "end", id, peakBytes: budget.peak });
    else {
      const bytes = new Uint8Array(heldBytes);
      let at = 0;
      for (const part of held) {
        bytes.set(part, at);
        at += part.length;
      }
      send({ type: "whole", id, ...head, bytes, peakBytes: budget.peak }, [bytes.buffer]);
    }
  } catch (error) {
    const { type, message } = apiError(error);
    send({ type: "failure", id, errorType: type, message, peakBytes: budget.peak });
  } finally {
    closeUnused();
    budget.release();
    running.delete(id);
  }
}

/** A part with memory of its own is handed over; one in Node's pool of small buffers is copied. */
function sendPart(id: number, part: Uint8Array): void {
  const own = part.byteOffset === 0 && part.buffer.byteLength >= 16 * 1024;
  const bytes = own ? new Uint8Array(part.buffer, 0, part.byteLength) : new Uint8Array(part);
  send({ type: "part", id, bytes }, [bytes.buffer as ArrayBuffer]);
}

port.on("message", (message: ToThread) => {
  if (message.type === "run") {
    void run(message.id, message.job, message.endpoints);
    return;
  }
  const self = running.get(message.id);
  if (self === undefined) return;
  if (message.type === "abort") self.abort.abort();
  else self.credits += message.parts;
  self.wake();
});

send({ type: "started" });
