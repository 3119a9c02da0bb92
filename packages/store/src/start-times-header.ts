/**
 * Metadata of a Series call: chunks may be XOR2 and the other encodings with start timestamps, for which StoreAPI has no
 * numbers; those that follow its own stand for them, and only torus nodes know them. "stored" takes chunks as they are
 * stored, "wanted" has start timestamps put into those in memory as well.
 */
export const START_TIMES_HEADER = "torus-start-timestamps";
export const StartTimes = { STORED: "stored", WANTED: "wanted" } as const;
