export type { TsdbDirectory } from "./directories.ts";
export { findTsdbDirectories } from "./directories.ts";
export type { DirectoryLock } from "./directory-lock.ts";
export { DirectoryLockedError, lockDirectory, SHIPPER_LOCK_FILE } from "./directory-lock.ts";
export type { ExternalLabels } from "./external-labels.ts";
export {
  EXTERNAL_LABELS_FILE,
  ExternalLabelsError,
  readExternalLabels,
  writeExternalLabels,
} from "./external-labels.ts";
export type { ShipperEvent, ShipperOptions } from "./shipper.ts";
export { LockLostError, NoExternalLabelsError, Shipper } from "./shipper.ts";
export { hasShipper, readShipped, SHIPPER_FILE, writeShipped } from "./shipper-file.ts";
export type { ShipperMetrics } from "./shipper-metrics.ts";
export { createShipperMetrics } from "./shipper-metrics.ts";
export type { SyncResult, UploaderOptions } from "./uploader.ts";
export { Uploader } from "./uploader.ts";
