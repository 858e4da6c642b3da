/**
 * Owns: choosing experts, running them, counting them.
 * Refuses to know: gates of particular models; they are RouteOptions.
 */
import type { ExpertWeights, RouteOptions, Span, Tensor, Weight } from '../backend.ts';
import { dot } from './linear.ts';
import { silu } from './rows.ts';
import { floats, ints } from './storage.ts';
import { decodeAll, decodeRow } from './weights.ts';

/**
 * See {@link Backend.route}. Scores are computed in f64 and rounded to f32 before anything is compared.
 *
 * @example route(span, ids, weights, logits, undefined, { scoring: 'softmax', used: 6, groups: 1, groupsUsed: 1, groupScore: 'max', normalise: false, scale: 1 })
 */
export function route(
  span: Span,
  ids: Tensor,
  weights: Tensor,
  logits: Tensor,
  bias: Weight | undefined,
  options: RouteOptions,
): void {
  const { scoring, used, groups, groupsUsed, groupScore, normalise, scale } = options;
  const from = floats(logits); // [n, E]
  const toIds = ints(ids); // [n, used]
  const toWeights = floats(weights); // [n, used]
  const biases = bias && decodeAll(bias); // [E]
  const experts = logits.cols;
  const perGroup = experts / groups;
  for (let i = 0; i < span.rows; i++) {
    const at = from.start + i * from.stride;
    const scores = SCORING[scoring](from.data.subarray(at, at + experts)); // [E]
    const judged = biases ? scores.map((s, e) => s + biases[e]!) : scores; // [E]
    const groupScores = new Float32Array(groups).map((_, g) =>
      GROUP_SCORE[groupScore](judged.subarray(g * perGroup, (g + 1) * perGroup)),
    );
    const allowed = new Set(best(groupScores, groupsUsed));
    const open = judged.map((s, e) => (allowed.has(Math.floor(e / perGroup)) ? s : -Infinity));
    const chosen = best(open, used);
    const sum = normalise ? chosen.reduce((total, e) => total + scores[e]!, 0) : 1;
    chosen.forEach((e, k) => {
      toIds.data[toIds.start + i * toIds.stride + k] = e;
      toWeights.data[toWeights.start + i * toWeights.stride + k] = (scores[e]! / sum) * scale;
    });
  }
}

/** Scores of one row of logits, rounded to f32. */
const SCORING: Readonly<Record<RouteOptions['scoring'], (logits: Float32Array) => Float32Array>> = {
  softmax: (logits) => {
    const max = logits.reduce((a, b) => Math.max(a, b), -Infinity);
    const powers = Float64Array.from(logits, (l) => Math.exp(l - max));
    const sum = powers.reduce((a, b) => a + b, 0);
    return Float32Array.from(powers, (p) => p / sum);
  },
  sigmoid: (logits) => logits.map((l) => 1 / (1 + Math.exp(-l))),
  'sqrt-softplus': (logits) =>
    logits.map((l) => Math.sqrt(Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l))))),
};

const GROUP_SCORE: Readonly<Record<RouteOptions['groupScore'], (scores: Float32Array) => number>> = {
  max: (scores) => scores[best(scores, 1)[0]!]!,
  top2: (scores) => best(scores, 2).reduce((sum, e) => sum + scores[e]!, 0),
};

/** Indices of the `count` largest, largest first, ties to the lower index. */
function best(scores: Float32Array, count: number): number[] {
  return Array.from(scores, (_, e) => e)
    .sort((a, b) => scores[b]! - scores[a]! || a - b)
    .slice(0, count);
}

/** A choice of an expert: batch row i, its k-th expert. */
interface Choice {
  readonly i: number;
  readonly k: number;
}

/** See {@link Backend.experts}. Example: `experts(span, out, x, ids, weights, { gate, up, down })`. */
export function experts(
  span: Span,
  out: Tensor,
  x: Tensor,
  ids: Tensor,
  weights: Tensor,
  { gate, up, down }: ExpertWeights,
): void {
  const from = floats(x); // [n, d]
  const to = floats(out); // [n, d]
  const w = floats(weights); // [n, used]
  const used = ids.cols;
  const inter = gate.rows;
  const d = down.rows;
  const answers = new Float32Array(span.rows * used * d); // [n, used, d]
  const gateRow = new Float32Array(gate.cols); // [d]
  const upRow = new Float32Array(up.cols); // [d]
  const downRow = new Float32Array(down.cols); // [inter]
  choicesByExpert(span, ids).forEach((choices, e) => {
    const hidden = new Float32Array(choices.length * inter); // [choices, inter]
    for (let r = 0; r < inter; r++) {
      decodeRow(gate, e, r, gateRow);
      decodeRow(up, e, r, upRow);
      choices.forEach(({ i }, n) => {
        const at = from.start + i * from.stride;
        const g = Math.fround(dot(from.data, at, gateRow, 0, gate.cols));
        hidden[n * inter + r] = silu(g) * Math.fround(dot(from.data, at, upRow, 0, up.cols));
      });
    }
    for (let r = 0; r < d; r++) {
      decodeRow(down, e, r, downRow);
      choices.forEach(({ i, k }, n) => {
        answers[(i * used + k) * d + r] = dot(hidden, n * inter, downRow, 0, inter);
      });
    }
  });
  for (let i = 0; i < span.rows; i++) {
    for (let r = 0; r < d; r++) {
      let sum = 0;
      for (let k = 0; k < used; k++) {
        sum += w.data[w.start + i * w.stride + k]! * answers[(i * used + k) * d + r]!;
      }
      const at = to.start + i * to.stride + r;
      to.data[at] = to.data[at]! + sum;
    }
  }
}

/** Who chose each expert; experts that nobody chose are absent. */
function choicesByExpert(span: Span, ids: Tensor): Map<number, Choice[]> {
  const which = ints(ids); // [n, used]
  const byExpert = new Map<number, Choice[]>();
  for (let i = 0; i < span.rows; i++) {
    for (let k = 0; k < ids.cols; k++) {
      const e = which.data[which.start + i * which.stride + k]!;
      const choices = byExpert.get(e) ?? [];
      choices.push({ i, k });
      byExpert.set(e, choices);
    }
  }
  return byExpert;
}

/** See {@link Backend.countExperts}. Example: `countExperts(span, counts, ids)`. */
export function countExperts(span: Span, counts: Tensor, ids: Tensor): void {
  const to = ints(counts); // [1, E]
  const which = ints(ids); // [n, used]
  for (let i = 0; i < span.rows; i++) {
    for (let k = 0; k < ids.cols; k++) {
      const at = to.start + which.data[which.start + i * which.stride + k]!;
      to.data[at] = to.data[at]! + 1;
    }
  }
}
