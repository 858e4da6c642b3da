import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { largest } from './largest.ts';
import { uniform } from './random.ts';
import type { Sampling } from './request.ts';
import { bend, candidates, draw, logprobsOf, Sampler } from './sampler.ts';

interface Golden {
  readonly vocab: number;
  readonly seen: readonly number[];
  readonly cases: readonly {
    readonly sampling: Sampling;
    readonly seed: number;
    readonly probabilities: Readonly<Record<string, number>>;
  }[];
}

const golden = JSON.parse(
  readFileSync(new URL('../../test/golden/sampling/processors.json', import.meta.url), 'utf8'),
) as Golden;

/** The same as in scripts/reference/sampling.py. */
function goldenLogits(seed: number): Float32Array {
  return Float32Array.from({ length: golden.vocab }, (_, i) => {
    const hash = (BigInt(i + 1) * 2654435761n + BigInt(seed) * 40503n) % 4294967296n;
    return (Number(hash) / 4294967296) * 16 - 8;
  });
}

describe('the distribution is that of transformers', () => {
  test.each(golden.cases.map((one) => [JSON.stringify(one.sampling), one] as const))('%s', (_name, one) => {
    const logits = goldenLogits(one.seed);
    bend(logits, one.sampling, golden.seen, new Map());
    const { ids, weights } = candidates(logits, one.sampling);
    const total = weights.reduce((a, b) => a + b, 0);
    const ours = new Map<number, number>();
    weights.forEach((weight, i) => {
      if (weight > 0) ours.set(ids?.[i] ?? i, weight / total);
    });
    const theirs = Object.entries(one.probabilities);
    expect([...ours.keys()].sort((a, b) => a - b)).toEqual(theirs.map(([id]) => Number(id)));
    for (const [id, probability] of theirs) {
      expect(Math.abs(ours.get(Number(id))! / probability - 1)).toBeLessThan(1e-4);
    }
  });
});

test('OpenAI: mu - count * frequency - (count > 0) * presence; bias first; -100 bans', () => {
  const logits = Float32Array.of(1, 2, 3, 4);
  const sampling: Sampling = {
    temperature: 0,
    presencePenalty: 0.5,
    frequencyPenalty: 0.25,
    logitBias: [
      [0, 2],
      [3, -100],
    ],
  };
  bend(logits, sampling, [1, 2, 2], new Map([[2, 2]]));
  expect([...logits]).toEqual([3, 2, 3 - 0.5 - 0.5, Number.NEGATIVE_INFINITY]);
});

test('the repetition penalty looks at the newest tokens only', () => {
  const logits = Float32Array.of(2, 2, -2);
  bend(logits, { temperature: 0, repetitionPenalty: 2, penaltyTokens: 2 }, [0, 1, 2], new Map());
  expect([...logits]).toEqual([2, 1, -4]);
});

test('draws follow the weights', () => {
  const logits = Float32Array.from([0.1, 0.2, 0.3, 0.4], Math.log);
  const counts = [0, 0, 0, 0];
  const draws = 20_000;
  for (let i = 0; i < draws; i++) counts[draw(logits, { temperature: 1 }, uniform(99, i))]!++;
  // Chi-square with three degrees of freedom: 16.3 is passed once in a thousand.
  const chiSquare = counts.reduce((sum, count, i) => {
    const expected = (draws * (i + 1)) / 10;
    return sum + (count - expected) ** 2 / expected;
  }, 0);
  expect(chiSquare).toBeLessThan(16.3);
});

test('numbers of a seed are uniform, and another seed gives others', () => {
  const bins = new Array<number>(20).fill(0);
  for (let seed = 0; seed < 50; seed++) {
    for (let i = 0; i < 400; i++) bins[Math.floor(uniform(seed, i) * 20)]!++;
  }
  const chiSquare = bins.reduce((sum, count) => sum + (count - 1000) ** 2 / 1000, 0);
  // Nineteen degrees of freedom.
  expect(chiSquare).toBeLessThan(43.8);
  expect(uniform(1, 0)).not.toBe(uniform(1 + 2 ** 32, 0));
});

test('a draw is always a candidate, whatever the numbers', () => {
  const anything = fc.record({
    logits: fc.array(fc.float({ noNaN: true, noDefaultInfinity: true, min: -50, max: 50 }), {
      minLength: 1,
      maxLength: 60,
    }),
    temperature: fc.double({ min: 0.01, max: 10, noNaN: true }),
    topK: fc.nat(70),
    topP: fc.double({ min: 0, max: 1, noNaN: true }),
    minP: fc.double({ min: 0, max: 1, noNaN: true }),
    random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  });
  fc.assert(
    fc.property(anything, ({ logits, random, ...sampling }) => {
      const values = Float32Array.from(logits);
      const { ids, weights } = candidates(values, sampling);
      const id = draw(values, sampling, random);
      const at = ids ? ids.indexOf(id) : id;
      expect(weights[at]).toBeGreaterThan(0);
    }),
    { numRuns: 500, seed: 4 },
  );
});

/** As it is defined: everything sorted, the fewest of the best that together weigh enough. */
function plainNucleus(logits: Float32Array, temperature: number, topP: number): [number, number][] {
  const high = Math.max(...logits);
  const all = [...logits].map((logit, id): [number, number] => [id, Math.exp((logit - high) / temperature)]);
  const wanted = topP * all.reduce((sum, [, weight]) => sum + weight, 0);
  const best = all.toSorted(([a], [b]) => logits[b]! - logits[a]! || a - b);
  let mass = 0;
  const nucleus = best.filter(([, weight]) => {
    const wants = mass < wanted;
    mass += weight;
    return wants && weight > 0;
  });
  return nucleus.length > 0 ? nucleus : best.slice(0, 1);
}

test('the nucleus is that of a full sort: of flat, steep and equal logits, bit by bit', () => {
  const anything = fc.record({
    logits: fc.array(fc.oneof(fc.float({ noNaN: true, min: -30, max: 30 }), fc.constantFrom(0, -0, 1)), {
      minLength: 1,
      maxLength: 200,
    }),
    temperature: fc.constantFrom(0.01, 0.3, 1, 10),
    topP: fc.oneof(
      fc.constantFrom(0, 0.5, 0.95, 1 - 1e-6, 1 - 1e-12),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
    ),
  });
  fc.assert(
    fc.property(anything, ({ logits, temperature, topP }) => {
      const values = Float32Array.from(logits);
      const { ids, weights } = candidates(values, { temperature, topP });
      const ours = [...weights].map((weight, i) => [ids![i]!, weight]);
      expect(ours.filter(([, weight]) => weight! > 0)).toEqual(plainNucleus(values, temperature, topP));
    }),
    { numRuns: 500, seed: 6 },
  );
});

test('the largest are those of a full sort', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { maxLength: 80 }), fc.nat(90), (values, count) => {
      const sorted = values.map((_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b);
      expect([...largest(values, count)]).toEqual(sorted.slice(0, count));
    }),
    { numRuns: 500, seed: 5 },
  );
});

test('log-probabilities are those of the softmax, before penalties and temperature', () => {
  const { logprob, top } = logprobsOf(Float32Array.from([1, 2, 3]), 1, 2);
  const total = Math.log(Math.exp(1) + Math.exp(2) + Math.exp(3));
  expect(logprob).toBeCloseTo(2 - total, 12);
  expect(top.map(({ id }) => id)).toEqual([2, 1]);
  const sampler = new Sampler({ temperature: 0, logitBias: [[0, 50]] }, [], 1, 1);
  const choice = sampler.choose(Float32Array.from([1, 2, 3]));
  expect(choice.id).toBe(0);
  expect(choice.logprob).toBeCloseTo(1 - total, 6);
});

test('logits that are no numbers are refused', () => {
  const sampler = new Sampler({ temperature: 1 }, [], 1);
  expect(() => sampler.choose(new Float32Array(4).fill(Number.NaN))).toThrow(
    /logits of the model: expected numbers/,
  );
});
