/** One measured figure: what, how much, and what was asked for ("" for nothing). */
export type Row = [what: string, value: number | string, target: string];

export function formatValue(value: number | string): string {
  if (typeof value === "string") return value;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);
}
