/**
 * Remote write requests for many series and rounds without building each anew: a request's bytes are encoded once,
 * and every round's times and values are written over the last one's.
 *
 *   TimeSeries of one sample, its last 17 bytes:   12 10 | 09 f64 value | 10 varint time (six bytes from 1971 to 2248)
 */

import { snappyEncode } from "@torus/kernels";
import { encodeWriteRequest } from "@torus/protocol";
import { Population, seriesLabels } from "../load/population.ts";

export const SERIES_PER_REQUEST = 2000;
const SAMPLE_BYTES = 17;
const TIME_BYTES = 6;

export class Requests {
  readonly #population: Population;
  readonly #bodies: Uint8Array[] = [];
  /** Where each series' sample begins, by request. */
  readonly #samples: Uint32Array[] = [];
  readonly #stepMs: number;
  #round = 0;

  constructor(series: number, stepMs: number) {
    this.#stepMs = stepMs;
    this.#population = new Population(series);
    for (let from = 0; from < series; from += SERIES_PER_REQUEST) {
      const count = Math.min(SERIES_PER_REQUEST, series - from);
      const request = Array.from({ length: count }, (_, i) => ({
        labels: seriesLabels(from + i),
        timestamps: Float64Array.of(1_700_000_000_000),
        values: Float64Array.of(1),
      }));
      const body = encodeWriteRequest(request);
      this.#bodies.push(body);
      this.#samples.push(samplesOf(body, count));
    }
  }

  get count(): number {
    return this.#bodies.length;
  }

  /** The next round, its samples at `time` (ms): one snappy body a request, each made when it is asked for. */
  *round(time: number): Generator<Uint8Array> {
    const round = this.#round++;
    for (const [r, body] of this.#bodies.entries()) {
      const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
      const samples = this.#samples[r] as Uint32Array;
      for (let i = 0; i < samples.length; i++) {
        const at = samples[i] as number;
        const index = r * SERIES_PER_REQUEST + i;
        const value = this.#population.next(index, round, this.#stepMs / 1000);
        view.setFloat64(at + 3, value, true);
        let rest = time;
        for (let n = 0; n < TIME_BYTES; n++) {
          body[at + 12 + n] = (rest % 128) | (n < TIME_BYTES - 1 ? 0x80 : 0);
          rest = Math.floor(rest / 128);
        }
      }
      yield snappyEncode(body);
    }
  }
}

function samplesOf(body: Uint8Array, count: number): Uint32Array {
  const out = new Uint32Array(count);
  let at = 0;
  for (let i = 0; i < count; i++) {
    // Tag of a TimeSeries, its length, its bytes.
    at++;
    let length = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = body[at++] as number;
      length += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    at += length;
    out[i] = at - SAMPLE_BYTES - 1;
    if (body[out[i] as number] !== 0x12 || body[(out[i] as number) + 2] !== 0x09) {
      throw new Error(`no sample at byte ${out[i]} of a request`);
    }
  }
  return out;
}
