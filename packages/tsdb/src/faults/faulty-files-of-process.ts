/** Puts the faulty disk under a worker of a process under test. */

import { installFaultyFiles } from "./faulty-files.ts";
import { PlanMemory } from "./plan.ts";

installFaultyFiles(PlanMemory.ofProcess());
