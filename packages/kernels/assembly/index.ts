// What the loader sees; src/load.ts types these names.
export { alloc, arenaBytesFree, arenaBytesInUse, free, roundedSize } from "./arena";
export { crc32c } from "./crc32c";
export {
  firstSampleTime, headAppendOne, headCommit, headFind, headFree, headNew, headNextRef, headPrepare, headRemove,
  headRemovePair, headReplaySamples, headReplayStarted, headReserveRefs, headRestore, headRollback, headSeriesCount, headSetLimit,
  headUnlink, newListEnd, preparedDeferred, preparedEntries, preparedLateRows, preparedMaxTime, preparedMinTime, preparedRecordEnd, replayStoppedAt,
  replayStoppedSeries, replayUnknownRefs,
  seedHash, seriesCloseChunk, seriesRecordEnd, seriesMarkDead, seriesPairs, seriesTruncate, sortPass, startedRecord, startsEnd, startsInto, startsOfRows,
} from "./head";
export { headRestoreDump, restoredEnd, restoredMaxTime, restoredMinTime, seriesDump } from "./head-dump";
export {
  numberedBegin, numberedBind, numberedDone, numberedFailedRows, numberedLateRows, numberedMaxTime, numberedMinTime, numberedPosition,
  numberedPrepare, numberedRecordEnd, numberedStarts, numberedUnknown,
} from "./append-refs";
export {
  refsBaseTime, refsCount, refsEntry, refsFind, refsFlags, refsForgetSections, refsFree, refsNew, refsRest, refsRows, refsRowsEnd,
  refsSeenSince, refsStartsEnd, refsStartsInto,
} from "./series-refs";
export { numberPowers, writeSamples } from "./number-text";
export { chunksClaimed, chunksDecode, chunksOfSeries, chunkWrite } from "./series-chunks";
export { snappyDecode, snappyDecodedLength, snappyEncode, snappyHeaderLength, snappyMaxEncodedLength } from "./snappy";
export { walkErrorAt, walkPosition, walkRequest } from "./walk";
export { seriesPushChunk, xorEncode } from "./xor";
export { xor2Decode, xor2Encode } from "./xor2";
export { xorDecode } from "./xor-decode";
export { xxh64 } from "./xxh64";
