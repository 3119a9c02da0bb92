/**
 * `<tsdb.path>/external-labels.json`: what a receiver says about its data to those who read its disk. It holds the
 * external labels of every tenant's blocks, and the label that carries the tenant:
 *
 *     {"labels": {"replica": "a"}, "tenantLabelName": "tenant_id"}
 *
 * A receiver writes it at start, so an uploader beside it needs no `--label`.
 */

import { randomUUID } from "node:crypto";
import { open, readFile, rename } from "node:fs/promises";
import path from "node:path";

export const EXTERNAL_LABELS_FILE = "external-labels.json";

export type ExternalLabels = {
  labels: Readonly<Record<string, string>>;
  tenantLabelName: string;
};

export class ExternalLabelsError extends Error {
  constructor(file: string, message: string, options?: ErrorOptions) {
    super(`${file}: ${message}`, options);
    this.name = "ExternalLabelsError";
  }
}

/** @returns undefined when there is no such file. @throws {ExternalLabelsError} */
export async function readExternalLabels(dir: string): Promise<ExternalLabels | undefined> {
  const file = path.join(dir, EXTERNAL_LABELS_FILE);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ExternalLabelsError(file, (error as Error).message, { cause: error });
  }
  const { labels, tenantLabelName } = (value ?? {}) as Record<string, unknown>;
  const isMap = typeof labels === "object" && labels !== null && !Array.isArray(labels);
  if (!isMap || Object.values(labels).some((label) => typeof label !== "string")) {
    throw new ExternalLabelsError(file, "labels is not an object of strings");
  }
  if (typeof tenantLabelName !== "string" || tenantLabelName === "") {
    throw new ExternalLabelsError(file, "tenantLabelName is not a name");
  }
  return { labels: labels as Record<string, string>, tenantLabelName };
}

/** Replaces the file whole. */
export async function writeExternalLabels(dir: string, external: ExternalLabels): Promise<void> {
  const { labels, tenantLabelName } = external;
  const body = `${JSON.stringify({ labels, tenantLabelName })}\n`;
  await replaceFile(path.join(dir, EXTERNAL_LABELS_FILE), body);
}

/** A reader sees the old content or the new one, also after a crash. */
export async function replaceFile(file: string, body: string): Promise<void> {
  const staged = `${file}.${randomUUID()}.tmp`;
  const handle = await open(staged, "wx");
  try {
    await handle.writeFile(body);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(staged, file);
  const folder = await open(path.dirname(file), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
