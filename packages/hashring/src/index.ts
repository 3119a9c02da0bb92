export {
  type Algorithm,
  type Endpoint,
  type HashringConfig,
  HashringConfigError,
  parseHashrings,
  parseHashringsFile,
} from "./config.ts";
export {
  Hashring,
  NoMatchingHashringError,
  type ShardCache,
  TenantPatternError,
} from "./hashring.ts";
export { HashringBuildError, InsufficientNodesError, type Placement } from "./placement.ts";
export { seriesHash } from "./series-hash.ts";
