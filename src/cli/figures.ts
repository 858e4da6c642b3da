/**
 * Owns: how numbers are written for people: bytes, rates, times, counts.
 * Refuses to know: where they are shown.
 */

/** Decimal bytes with three digits. Example: `formatBytes(98362432)` is `98.4 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return unit === 0 ? `${bytes} bytes` : `${digits(value)} ${units[unit]}`;
}

/** Three significant digits, without a fraction from 100 up. Example: `digits(12.345)` is `12.3`. */
export function digits(value: number): string {
  if (value >= 100) return formatCount(Math.round(value));
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A whole number in groups of three. Example: `formatCount(8192)` is `8,192`. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US');
}

/** Example: `formatMs(2345)` is `2.35 s`, `formatMs(12.3)` is `12.3 ms`. */
export function formatMs(ms: number): string {
  return ms >= 1000 ? `${digits(ms / 1000)} s` : `${digits(ms)} ms`;
}

/** Events per second, or undefined where nothing was measured. */
export function perSecond(count: number, ms: number): number | undefined {
  return count > 0 && ms > 0 ? (count / ms) * 1000 : undefined;
}

/**
 * Rows of cells in columns as wide as their widest cell; numbers (`right`) flush right.
 *
 * @example table([['a', '1'], ['bb', '22']], [1]);
 */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
