/**
 * Owns: a comparison of types as a picture: a row for each type, a column for each figure, every column with its own axis.
 * Refuses to know: how the figures came about.
 */
import type { CompareRow } from './compare.node.ts';

interface Column {
  readonly title: string;
  readonly unit: string;
  readonly value: (row: CompareRow) => number;
  readonly error?: (row: CompareRow) => number;
  readonly write: (value: number) => string;
  /** Powers of ten where figures lie too far apart for a straight scale. */
  readonly logarithmic?: boolean;
  readonly colour: string;
}

const [LABELS, COLUMN, GAP, ROW, TOP, BOTTOM, RIGHT] = [104, 178, 26, 30, 92, 46, 14];
const INK = '#1f2a37';
const PALE = '#6b7785';
/** Of a column, what bars may take: the rest is for the number after the bar. */
const BARS = 0.68;

const COLUMNS: readonly Column[] = [
  {
    title: 'File',
    unit: 'GB',
    value: ({ fileBytes }) => fileBytes / 1e9,
    write: digits,
    colour: '#5b7fa6',
  },
  {
    title: 'Memory once loaded',
    unit: 'GB',
    value: ({ memoryBytes }) => memoryBytes / 1e9,
    write: digits,
    colour: '#5b7fa6',
  },
  {
    title: 'Perplexity',
    unit: 'line: standard error',
    value: ({ perplexity }) => perplexity,
    error: ({ perplexityError }) => perplexityError,
    write: digits,
    colour: '#b0713d',
  },
  {
    title: 'KL divergence',
    unit: 'nats a token, logarithmic',
    value: ({ kl }) => kl,
    write: (kl) => (kl === 0 ? '0' : kl >= 0.001 ? kl.toPrecision(2) : kl.toExponential(1)),
    logarithmic: true,
    colour: '#b0713d',
  },
  {
    title: 'Answering',
    unit: 'tokens a second',
    value: ({ decodeRate }) => decodeRate,
    write: digits,
    colour: '#4d8a6a',
  },
];

/**
 * An SVG picture of a comparison.
 *
 * @param title what was compared, one line
 * @param note what a reader must know to read it, one line
 * @example await writeFile('types.svg', compareChart('V2-Lite in six types', 'against BF16', rows));
 */
export function compareChart(title: string, note: string, rows: readonly CompareRow[]): string {
  const width = LABELS + COLUMNS.length * (COLUMN + GAP) - GAP + RIGHT;
  const height = TOP + rows.length * ROW + BOTTOM;
  const stripes = rows.map((_, i) =>
    i % 2 === 0 ? `<rect x="0" y="${TOP + i * ROW}" width="${width}" height="${ROW}" fill="#f5f6f8"/>` : '',
  );
  const names = rows.map(({ type }, i) => {
    const weight = type === 'reference' ? 'normal' : 'bold';
    return `<text x="16" y="${TOP + i * ROW + 20}" font-weight="${weight}">${escaped(type)}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="13" fill="${INK}" role="img">
<title>${escaped(title)}</title>
<rect width="${width}" height="${height}" fill="#fff"/>
<text x="16" y="26" font-size="16" font-weight="bold">${escaped(title)}</text>
<text x="16" y="46" font-size="12" fill="${PALE}">${escaped(note)}</text>
${stripes.filter(Boolean).join('\n')}
${names.join('\n')}
${COLUMNS.map((column, i) => drawn(column, LABELS + i * (COLUMN + GAP), rows)).join('\n')}
</svg>
`;
}

function drawn(column: Column, left: number, rows: readonly CompareRow[]): string {
  const { title, unit, write, colour } = column;
  const { ticks, at } = scaleOf(column, rows);
  const x = (value: number) => (left + at(value) * COLUMN * BARS).toFixed(1);
  const bottom = TOP + rows.length * ROW;
  const axis = ticks.map(
    (tick) =>
      `<path d="M${x(tick)} ${TOP}V${bottom + 4}" stroke="#cfd5dc"/>` +
      `<text x="${x(tick)}" y="${bottom + 18}" font-size="11" fill="${PALE}" text-anchor="middle">${short(tick)}</text>`,
  );
  const bars = rows.map((row, i) => {
    const value = column.value(row);
    const y = TOP + i * ROW;
    const end = Math.max(Number(x(value)), left);
    const error = column.error?.(row) ?? 0;
    const tip = Math.max(end, error > 0 ? Number(x(value + error)) : end);
    const whisker =
      error > 0
        ? `<path d="M${x(value - error)} ${y + 15}H${x(value + error)}" stroke="${INK}" stroke-width="1.2"/>`
        : '';
    return (
      `<rect x="${left}" y="${y + 8}" width="${(end - left).toFixed(1)}" height="14" rx="2" fill="${colour}" fill-opacity="${row.type === 'reference' ? 0.45 : 1}"/>` +
      whisker +
      `<text x="${(tip + 6).toFixed(1)}" y="${y + 20}" font-size="12">${write(value)}</text>`
    );
  });
  return [
    `<text x="${left}" y="${TOP - 22}" font-weight="bold">${title}</text>`,
    `<text x="${left}" y="${TOP - 8}" font-size="11" fill="${PALE}">${escaped(unit)}</text>`,
    ...axis,
    `<path d="M${left} ${TOP}V${bottom}" stroke="${PALE}"/>`,
    ...bars,
  ].join('\n');
}

/** Where values stand between 0 and 1, and the marks of the axis. */
function scaleOf({ value, error, logarithmic }: Column, rows: readonly CompareRow[]) {
  const values = rows.map((row) => value(row) + (error?.(row) ?? 0));
  const most = Math.max(...values, Number.MIN_VALUE);
  if (!logarithmic) {
    const step = niceStep(most / 3);
    const ticks = Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step);
    return { ticks, at: (v: number) => Math.max(0, v) / most };
  }
  const positive = values.filter((v) => v > 0);
  const low = Math.floor(Math.log10(Math.min(...positive, most)) - 1e-9);
  const high = Math.max(Math.log10(most), low + 1);
  const ticks = Array.from({ length: Math.floor(high) - low + 1 }, (_, i) => 10 ** (low + i));
  return { ticks, at: (v: number) => (v > 0 ? Math.max(0, (Math.log10(v) - low) / (high - low)) : 0) };
}

/** 1, 2 or 5 times a power of ten, the next from below. */
function niceStep(wanted: number): number {
  const power = 10 ** Math.floor(Math.log10(wanted));
  const times = wanted / power;
  return power * (times >= 5 ? 5 : times >= 2 ? 2 : 1);
}

function short(value: number): string {
  return value !== 0 && value < 0.001 ? value.toExponential(0) : String(Number(value.toPrecision(6)));
}

function digits(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toPrecision(3);
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
}
