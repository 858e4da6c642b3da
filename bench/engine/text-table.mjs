/**
 * Owns: results as a table of text.
 * Refuses to know: how they were measured.
 */
import { digits, table } from '../../dist/cli/figures.js';

const percent = (share) => `${Math.round(share * 100)} %`;

/**
 * One line for each row: for every engine median (lowest to highest), its part of the bound; ratios to Hadal.
 *
 * @example console.log(textTable(document.rows));
 */
export function textTable(rows) {
  const names = [...new Set(rows.flatMap(({ engines }) => Object.keys(engines)))];
  const head = [
    'row',
    'unit',
    ...names.flatMap((name) => [name, 'of bound', 'read GB/s', ...(name === 'hadal' ? [] : ['times'])]),
  ];
  const lines = rows.map(({ title, unit, engines }) => [
    title,
    unit,
    ...names.flatMap((name) => {
      if (engines[name] === undefined) return name === 'hadal' ? ['', '', ''] : ['', '', '', ''];
      const { values, share, ratio, readRate } = engines[name];
      return [
        `${digits(values.median)} (${digits(values.min)} to ${digits(values.max)})`,
        share ? percent(share.median) : '',
        digits(readRate.median / 1e9),
        ...(name === 'hadal' ? [] : [ratio ? `${ratio.median.toFixed(2)}x` : '']),
      ];
    }),
  ]);
  return table([head, ...lines]);
}
