/** A tenant's name is a folder's name: one plain path element. */

export class TenantNameError extends Error {
  constructor(tenant: string) {
    super(`tenant name not valid: ${JSON.stringify(tenant.slice(0, 100))}`);
    this.name = "TenantNameError";
  }
}

const MOST_BYTES = 255;

/** @throws {TenantNameError} */
export function checkTenantName(tenant: string): void {
  const isPlain =
    tenant !== "" &&
    tenant !== "." &&
    tenant !== ".." &&
    !/[/\\\0]/.test(tenant) &&
    Buffer.byteLength(tenant) <= MOST_BYTES;
  if (!isPlain) throw new TenantNameError(tenant);
}
