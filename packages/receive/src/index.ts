export { createReceiveMetrics, type ReceiveMetrics } from "./metrics.ts";
export { openReceiver, type Receiver, type ReceiverOptions } from "./receiver.ts";
export { checkTenantName, TenantNameError } from "./tenant-name.ts";
export { HANDOFF_FOLDER, type Tenant, Tenants, type TenantsOptions } from "./tenants.ts";
