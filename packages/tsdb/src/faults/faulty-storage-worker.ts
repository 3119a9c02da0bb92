/** The storage worker of a process under test: that of the program, on the process' faulty disk. */

import "./faulty-files-of-process.ts";
import "../cut/storage-worker.ts";
