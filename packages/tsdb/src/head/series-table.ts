/** Address by ref, in pages that are dropped when all their series are gone: refs only grow, and never come again. */

const PAGE_BITS = 12;
const PAGE = 1 << PAGE_BITS;

export class SeriesTable {
  readonly #pages: (Uint32Array | undefined)[] = [];
  readonly #live: number[] = [];

  set(ref: number, address: number): void {
    const p = ref >>> PAGE_BITS;
    let page = this.#pages[p];
    if (page === undefined) {
      page = new Uint32Array(PAGE);
      this.#pages[p] = page;
      this.#live[p] = 0;
    }
    if (page[ref & (PAGE - 1)] === 0) this.#live[p] = (this.#live[p] as number) + 1;
    page[ref & (PAGE - 1)] = address;
  }

  /** 0 when there is no such series. */
  get(ref: number): number {
    return this.#pages[ref >>> PAGE_BITS]?.[ref & (PAGE - 1)] ?? 0;
  }

  delete(ref: number): void {
    const p = ref >>> PAGE_BITS;
    const page = this.#pages[p];
    if (page === undefined || page[ref & (PAGE - 1)] === 0) return;
    page[ref & (PAGE - 1)] = 0;
    const live = (this.#live[p] as number) - 1;
    this.#live[p] = live;
    if (live === 0) this.#pages[p] = undefined;
  }

  /** Ref and address of every series, ascending by ref; series may be deleted meanwhile. */
  *entries(): Generator<[ref: number, address: number]> {
    for (let p = 0; p < this.#pages.length; p++) {
      const page = this.#pages[p];
      if (page === undefined) continue;
      for (let i = 0; i < PAGE; i++) {
        const address = page[i] as number;
        if (address !== 0) yield [p * PAGE + i, address];
      }
    }
  }
}
