/**
 * Owns: drawing bars with their spread as SVG.
 * Refuses to know: what they stand for.
 */

const [WIDTH, LABELS, ROW, TOP, RIGHT] = [760, 320, 24, 40, 60];

/**
 * Horizontal bars around the line of 1; `low` and `high` are drawn as a whisker.
 *
 * @param {string} title
 * @param {readonly { label: string, value: number, low: number, high: number }[]} bars
 * @example writeFileSync('ratios.svg', barChart('twice as fast', [{ label: 'decode', value: 2, low: 1.8, high: 2.1 }]));
 */
export function barChart(title, bars) {
  const most = Math.max(1, ...bars.map(({ high }) => high));
  const x = (value) => LABELS + (value / most) * (WIDTH - LABELS - RIGHT);
  const at = (i) => TOP + i * ROW;
  const height = at(bars.length) + 16;
  const lines = bars.flatMap(({ label, value, low, high }, i) => [
    `<text x="${LABELS - 8}" y="${at(i) + 15}" text-anchor="end">${escaped(label)}</text>`,
    `<rect x="${LABELS}" y="${at(i) + 4}" width="${(x(value) - LABELS).toFixed(1)}" height="${ROW - 8}" fill="${value >= 1 ? '#2a78a8' : '#b5532f'}"/>`,
    `<path d="M${x(low).toFixed(1)} ${at(i) + 12}H${x(high).toFixed(1)}" stroke="#111" stroke-width="1.5"/>`,
    `<text x="${(x(high) + 6).toFixed(1)}" y="${at(i) + 15}">${value.toFixed(2)}</text>`,
  ]);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12" role="img">
<title>${escaped(title)}</title>
<rect width="${WIDTH}" height="${height}" fill="#fff"/>
<text x="12" y="20" font-weight="bold">${escaped(title)}</text>
<path d="M${x(1).toFixed(1)} ${TOP - 6}V${height - 10}" stroke="#888" stroke-dasharray="4 3"/>
${lines.join('\n')}
</svg>
`;
}

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
