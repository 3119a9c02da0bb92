/**
 * Metadata of a Series call, "1": chunks may be XOR2 and the other encodings with start timestamps. StoreAPI has no numbers
 * for these; those that follow its own stand for them, and only torus nodes know them.
 */
export const START_TIMES_HEADER = "torus-start-timestamps";
