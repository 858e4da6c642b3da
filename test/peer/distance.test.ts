/**
 * Owns: the measure judged by hand-worked numbers, so that parity.test.ts can be believed.
 * Refuses to know: models.
 */
import { describe, expect, it } from 'vitest';
import { best, divergence, logSoftmax } from '../../src/evaluate/distributions.ts';
import { Tally } from './distance.ts';

const logits = (...probabilities: number[]) => Float32Array.from(probabilities, (p) => Math.log(p) + 3);

describe('distance of distributions', () => {
  it('is KL(p || q) in nats, whatever constant is added to logits', () => {
    const p = logSoftmax(logits(0.5, 0.25, 0.25));
    const q = logSoftmax(logits(0.25, 0.5, 0.25));
    // 0.5 ln 2 - 0.25 ln 2
    expect(divergence(p, q)).toBeCloseTo(0.25 * Math.LN2, 7);
    expect(divergence(p, p)).toBe(0);
  });

  it('is not the same in both directions', () => {
    const p = logSoftmax(logits(0.9, 0.1));
    const q = logSoftmax(logits(0.5, 0.5));
    expect(divergence(p, q)).toBeCloseTo(0.9 * Math.log(1.8) + 0.1 * Math.log(0.2), 6);
    expect(divergence(q, p)).toBeCloseTo(0.5 * Math.log(5 / 9) + 0.5 * Math.log(5), 6);
  });

  it('finds the best and its margin, the lowest index on ties', () => {
    expect(best(Float32Array.of(1, 4, 3.5, 4))).toEqual({ index: 1, margin: 0 });
    expect(best(Float32Array.of(5, 1, 4.5))).toEqual({ index: 0, margin: 0.5 });
  });

  it('counts disagreements with the oracle’s margin and takes the mean over positions', () => {
    const tally = new Tally();
    tally.add(7, Float32Array.of(0, 0.25, 2, 0), Float32Array.of(0.25, 0, 2, 0), 2);
    const { positions, agreement, disagreements, meanKl, worstKl } = tally.figures();
    expect({ positions, agreement }).toEqual({ positions: 2, agreement: 0.5 });
    expect(disagreements).toEqual([{ text: 7, position: 0, margin: 0.25 }]);
    expect(meanKl).toBeCloseTo(worstKl / 2, 12);
  });

  it('does not let NaN pass for agreement in distance', () => {
    const tally = new Tally();
    tally.add(0, Float32Array.of(1, 0), Float32Array.of(Number.NaN, 0), 2);
    expect(tally.figures().meanKl < 1).toBe(false);
    expect(tally.figures().worstKl).toBeNaN();
  });
});
