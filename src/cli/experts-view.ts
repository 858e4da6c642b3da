/**
 * Owns: which experts a model chose, as strips of bars in a terminal and as JSON.
 * Refuses to know: who counted.
 */
import { expertLayerDocument } from '../api/hadal/machine.ts';
import { expertBalance } from '../engine/expert-balance.ts';
import type { ExpertUse } from '../engine/request.ts';
import { formatCount, table } from './figures.ts';

/** Bars by how many times its even share an expert was chosen, each up to and with its bound. */
const BARS: readonly (readonly [upTo: number, bar: string])[] = [
  [0, '·'],
  [0.25, '▁'],
  [0.5, '▂'],
  [0.75, '▃'],
  [1, '▄'],
  [1.5, '▅'],
  [2, '▆'],
  [3, '▇'],
  [Number.POSITIVE_INFINITY, '█'],
];

/** Bars of one strip; more experts than that share bars. */
const STRIP = 64;

/**
 * One strip for each layer, a bar for each expert or for neighbours together, and how even the choices are.
 *
 * @param used experts chosen for each token.
 * @example terminal.out(expertsPicture(stats.experts, 6));
 */
export function expertsPicture(uses: readonly ExpertUse[], used: number): string {
  const experts = uses[0]?.counts.length ?? 0;
  const together = Math.ceil(experts / STRIP);
  const tokens = uses.length > 0 ? expertBalance(uses[0]!.counts).choices / used : 0;
  const rows = uses.map(({ layer, counts }) => {
    const { evenness, dead, busiest, busiestShare } = expertBalance(counts);
    return [
      `layer ${layer}`,
      strip(counts, together),
      `even ${Math.round(evenness * 100)} %`,
      dead === 0 ? 'all used' : `${formatCount(dead)} dead`,
      `most: ${busiest}, ${busiestShare.toFixed(1)} times its share`,
    ];
  });
  return [
    `Experts: ${used} of ${experts} for each of ${formatCount(tokens)} tokens in ${uses.length} layer${uses.length === 1 ? '' : 's'}` +
      (together > 1 ? `; a bar stands for ${together} neighbours` : ''),
    table(rows),
    '· never   ▄ its even share   █ more than three times that   even 100 %: all alike   dead: never chosen',
    '',
  ].join('\n');
}

/**
 * The same as a part of a JSON document.
 *
 * @example terminal.json({ experts: expertsDocument(stats.experts, 6) });
 */
export function expertsDocument(uses: readonly ExpertUse[], used: number): object[] {
  return uses.map((use) => ({
    tokens: expertBalance(use.counts).choices / used,
    ...expertLayerDocument(use),
  }));
}

function strip(counts: Int32Array, together: number): string {
  const total = counts.reduce((sum, n) => sum + n, 0);
  let bars = '';
  for (let e = 0; e < counts.length; e += together) {
    const part = counts.subarray(e, e + together);
    const chosen = part.reduce((sum, n) => sum + n, 0);
    const share = total > 0 ? (chosen / part.length / total) * counts.length : 0;
    bars += BARS.find(([upTo]) => share <= upTo)![1];
  }
  return bars;
}
