/** Rows, that is accepted samples, that one step of an append may make; also its late rows. */
export const ROW_CAPACITY = 16_384;
