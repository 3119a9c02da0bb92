/**
 * Metadata of metrics for the tenant's other receivers: series of a family are spread over the ring, and the one that
 * a sender talks to may own none of them. Every owner keeps all metadata of its tenants.
 *
 *   torus.Metadata/Note  { string tenant = 1; repeated prometheus.MetricMetadata = 3 }  as fields of WriteRequest
 *
 * What an owner could not take is sent again the next time that a sender tells it, a minute later at the earliest. An
 * owner that does not know the call (Thanos) keeps no metadata, and is not asked for it.
 */

import { ByteWriter } from "@torus/encoding";
import { bytesField, int64Field, readFields, stringField, WireType } from "@torus/protocol";
import { errorText, GrpcError, GrpcStatus, type Logger } from "@torus/server";
import { MetricMetadataSet, metricTypeNumber, type NamedMetadata } from "@torus/tsdb";
import type { Peers } from "./peers.ts";

export const NOTE_METADATA = "/torus.Metadata/Note";

const RETRY_AFTER_MS = 60_000;
const MOST_TENANTS = 10_000;
/** Of one message; an entry has 4 KiB at most. */
const MESSAGE_BYTES = 256 << 10;

export type MetadataSpreadOptions = {
  peers: Peers;
  /** Addresses of the tenant's other receivers; null while they are not known. */
  owners: (tenant: string) => readonly string[] | null;
  log: Logger;
  now: () => number;
};

export class MetadataSpread {
  readonly #options: MetadataSpreadOptions;
  /** What all owners have, by tenant: it is "logged" there. */
  readonly #sent = new Map<string, MetricMetadataSet>();
  #retryAt = 0;

  constructor(options: MetadataSpreadOptions) {
    this.#options = options;
  }

  /** Sends what is new to all owners; the calls run on after it returned. */
  note(tenant: string, entries: readonly NamedMetadata[]): void {
    const { owners, now } = this.#options;
    let sent = this.#sent.get(tenant);
    if (sent === undefined) {
      if (this.#sent.size >= MOST_TENANTS) return;
      sent = new MetricMetadataSet();
      this.#sent.set(tenant, sent);
    }
    const fresh = sent.note(entries);
    if (fresh.length === 0 || now() < this.#retryAt) return;
    const addresses = owners(tenant);
    if (addresses === null) return;
    for (const each of fresh) each.isLogged = true;
    for (const { message, entries: part } of messages(tenant, fresh)) {
      void this.#send(addresses, message).then((isSent) => {
        if (isSent) return;
        this.#retryAt = this.#options.now() + RETRY_AFTER_MS;
        for (const each of part) each.isLogged = false;
      });
    }
  }

  /** The ring changed: there may be owners that know nothing. */
  forget(): void {
    this.#sent.clear();
    this.#retryAt = 0;
  }

  async #send(addresses: readonly string[], message: Uint8Array): Promise<boolean> {
    const { peers, log } = this.#options;
    let isSent = true;
    const send = async (address: string): Promise<void> => {
      try {
        const peer = peers.get(address);
        const refusal = peer.refusal(message.length);
        if (refusal !== undefined) throw refusal;
        await peer.call(NOTE_METADATA, message);
      } catch (error) {
        if (error instanceof GrpcError && error.code === GrpcStatus.UNIMPLEMENTED) return;
        isSent = false;
        log.debug("send metadata of metrics", { peer: address, err: errorText(error) });
      }
    };
    await Promise.all(addresses.map(send));
    return isSent;
  }
}

function* messages<T extends NamedMetadata>(
  tenant: string,
  all: readonly T[],
): Generator<{ message: Uint8Array; entries: T[] }> {
  let out = new ByteWriter(4096);
  let entries: T[] = [];
  for (const each of all) {
    if (entries.length === 0) stringField(out, 1, tenant);
    const inner = new ByteWriter(256);
    int64Field(inner, 1, metricTypeNumber(each.type));
    stringField(inner, 2, each.metric);
    stringField(inner, 4, each.help);
    stringField(inner, 5, each.unit);
    bytesField(out, 3, inner.written);
    entries.push(each);
    if (out.written.length < MESSAGE_BYTES) continue;
    yield { message: out.copy(), entries };
    out = new ByteWriter(4096);
    entries = [];
  }
  if (entries.length > 0) yield { message: out.copy(), entries };
}

/** The tenant of a message, whose metadata `readMetadata` reads. @throws {MessageMalformedError} */
export function noteTenant(message: Uint8Array): string {
  let tenant = "";
  readFields("Note", message, (number, wire, reader) => {
    if (number !== 1 || wire !== WireType.BYTES) return false;
    tenant = reader.string();
    return true;
  });
  return tenant;
}
