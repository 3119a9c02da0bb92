/**
 * Where the head of Prometheus cuts chunks of native histograms (Prometheus, tsdb/docs/format/chunks.md): at the border of the block
 * range, and near 1024 bytes, so that what is left of the range is filled evenly; never below ten samples but there.
 */

const TARGET_BYTES = 1024;
const MIN_SAMPLES = 10;
const CHUNK_RANGE = 2 * 60 * 60 * 1000;

export class HistogramCutter {
  #start = 0;
  #last = 0;
  #nextAt = 0;
  #rangeEnd = 0;
  #predicted = false;

  begin(time: number): void {
    this.#start = time;
    this.#last = time;
    this.#rangeEnd = (Math.floor(time / CHUNK_RANGE) + 1) * CHUNK_RANGE;
    this.#nextAt = this.#rangeEnd;
    this.#predicted = false;
  }

  /** Whether a chunk is to begin at `time`, given what the open one holds. */
  isDue(time: number, count: number, sizeBytes: number): boolean {
    if (!this.#predicted && sizeBytes >= TARGET_BYTES / 4) {
      this.#predicted = true;
      const taken = this.#last - this.#start + 1;
      const parts = (this.#nextAt - this.#start) / ((TARGET_BYTES / sizeBytes) * taken);
      if (parts > 1) {
        this.#nextAt = Math.floor(this.#start + (this.#nextAt - this.#start) / Math.floor(parts));
      }
    }
    this.#last = time;
    const full = time >= this.#nextAt || sizeBytes >= TARGET_BYTES * 2;
    return full && (count >= MIN_SAMPLES || time >= this.#rangeEnd);
  }
}
