/** Owns: tests of perplexity and distances against plain arithmetic. Refuses to know: real models. */
import { expect, test } from 'vitest';
import type { ScoreEvent, ScoreRequest } from '../engine/request.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { evaluateText, type Scorer } from './perplexity.ts';
import { estimate, meanBounds, percentile, percentileBounds } from './statistics.ts';

const VOCAB = 8;
const TEXT = Array.from({ length: 40 }, (_, i) => (i * i) % VOCAB).join('');

/** Every digit is a token. */
const tokenizer = {
  addsBos: false,
  bosId: undefined,
  encode: (text: string) => Int32Array.from(text, Number),
} as unknown as Tokenizer;

/** Logits that depend on the position alone, given in stretches of three rows. */
function scorer(logit: (position: number, id: number) => number): Scorer {
  return {
    async *score({ ids }: ScoreRequest): AsyncGenerator<ScoreEvent> {
      for (let firstPosition = 0; firstPosition < ids.length; firstPosition += 3) {
        const positions = Math.min(3, ids.length - firstPosition);
        const logits = new Float32Array(positions * VOCAB);
        for (let i = 0; i < logits.length; i++) {
          logits[i] = logit(firstPosition + Math.floor(i / VOCAB), i % VOCAB);
        }
        yield { firstPosition, logits };
      }
    },
  };
}

const even = scorer(() => 0);
const leaning = scorer((position, id) => ((position + id) % 3) / 2);

test('a model that knows nothing has the perplexity of its vocabulary', async () => {
  const result = await evaluateText(even, tokenizer, TEXT, { windowTokens: 16 });
  expect(result).toMatchObject({ windows: 2, windowTokens: 16, tokens: 14 });
  expect(result.perplexity).toBeCloseTo(VOCAB, 6);
  expect(result.error).toBeCloseTo(0, 6);
});

test('perplexity and distance by hand', async () => {
  const { perplexity, distance } = await evaluateText(leaning, tokenizer, TEXT, {
    windowTokens: 16,
    windows: 1,
    reference: even,
  });
  const ids = [...TEXT].map(Number);
  const losses: number[] = [];
  const divergences: number[] = [];
  for (let position = 8; position < 15; position++) {
    const logits = Array.from({ length: VOCAB }, (_, id) => ((position + id) % 3) / 2);
    const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
    const log = logits.map((logit) => logit - Math.log(sum));
    losses.push(-log[ids[position + 1]!]!);
    divergences.push(log.reduce((total, q) => total + (1 / VOCAB) * (Math.log(1 / VOCAB) - q), 0));
  }
  const mean = (numbers: number[]) => numbers.reduce((a, b) => a + b) / numbers.length;
  expect(perplexity).toBeCloseTo(Math.exp(mean(losses)), 6);
  expect(distance!.kl.mean).toBeCloseTo(mean(divergences), 6);
  expect(distance!.klMost).toBeCloseTo(Math.max(...divergences), 6);
  expect(distance!.reference.perplexity).toBeCloseTo(VOCAB, 6);
});

test('a model is at no distance from itself', async () => {
  const { distance } = await evaluateText(leaning, tokenizer, TEXT, { windowTokens: 16, reference: leaning });
  expect(distance).toMatchObject({ klMost: 0, sameTop: { mean: 1 } });
});

test('refuses a text shorter than a window, and another vocabulary', async () => {
  await expect(evaluateText(even, tokenizer, '12', {})).rejects.toMatchObject({ code: 'text-too-short' });
  const other: Scorer = {
    async *score({ ids }) {
      yield { firstPosition: 0, logits: new Float32Array(ids.length * 4) };
    },
  };
  const compared = evaluateText(even, tokenizer, TEXT, { windowTokens: 16, reference: other });
  await expect(compared).rejects.toMatchObject({ code: 'vocabulary-differs' });
});

/** Ranks are those of scipy.stats.binom.interval(0.95, n, p): 983 to 996 and 48 to 50, the upper one and one more. */
test('95 % intervals', async () => {
  const { low, high } = meanBounds({ mean: 10, error: 0.5 });
  expect([low, high].map((x) => Number(x.toFixed(4)))).toEqual([9.02, 10.98]);
  const numbers = Array.from({ length: 1000 }, (_, i) => i + 1);
  expect(percentileBounds(numbers, 0.99)).toEqual({ low: 983, high: 997 });
  expect(percentileBounds(numbers.slice(0, 50), 0.99)).toEqual({ low: 48, high: Number.POSITIVE_INFINITY });
  const {
    perplexity,
    low: from,
    high: to,
    distance,
  } = await evaluateText(leaning, tokenizer, TEXT, {
    windowTokens: 16,
    reference: even,
  });
  expect(from).toBeLessThan(perplexity);
  expect(to * from).toBeCloseTo(perplexity ** 2, 6);
  expect(distance!.kl.high - distance!.kl.mean).toBeCloseTo(1.96 * distance!.kl.error, 4);
  expect(distance!.kl99Bounds.low).toBeLessThanOrEqual(distance!.kl99);
  expect(distance!.sameTop.high).toBeGreaterThan(distance!.sameTop.mean);
});

test('estimates and percentiles', () => {
  expect(estimate([1, 3])).toEqual({ mean: 2, error: 1, count: 2 });
  expect(percentile([3, 1, 2], 0.5)).toBe(2);
  expect(percentile([0, 10], 0.99)).toBeCloseTo(9.9);
});
