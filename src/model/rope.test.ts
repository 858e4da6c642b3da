import { expect, test } from 'vitest';
import type { RopeConfig } from './config.ts';
import { ropeFrequencies, softmaxScale, yarnRange } from './rope.ts';

/** V3's rotations, as its config.json and its published inference code have them. */
const V3: RopeConfig = {
  dim: 64,
  base: 10000,
  layout: 'norm',
  scaling: {
    type: 'yarn',
    factor: 40,
    originalTokens: 4096,
    betaFast: 32,
    betaSlow: 1,
    magnitude: 1,
    logMultiplier: 0.1,
  },
};

test('YaRN goes over from kept to divided frequencies between the pairs of the published code', () => {
  const betas = { betaFast: 32, betaSlow: 1 };
  expect(yarnRange({ dim: 64, base: 10000 }, { originalTokens: 4096, ...betas })).toEqual([10, 23]);
  expect(yarnRange({ dim: 64, base: 160000 }, { originalTokens: 65536, ...betas })).toEqual([15, 25]);
});

test("V3's frequencies: whole up to pair 10, a fortieth from pair 23 on, in between by thirteenths", () => {
  const turned = ropeFrequencies(V3);
  for (let i = 0; i < 32; i++) {
    const plain = 10000 ** (-i / 32);
    const divided = Math.min(13, Math.max(0, i - 10)) / 13;
    expect(turned[i]! / (plain * (1 - divided) + (plain / 40) * divided)).toBeCloseTo(1, 6);
  }
});

test('the softmax scale has the square of m(40, mscale_all_dim): 1.87386 for V3, 1.58962 for V2-Lite', () => {
  const lite: RopeConfig = {
    ...V3,
    scaling: { ...V3.scaling, logMultiplier: 0.0707 } as RopeConfig['scaling'],
  };
  expect(softmaxScale(192, V3) * Math.sqrt(192)).toBeCloseTo(1.87386, 4);
  expect(softmaxScale(192, lite) * Math.sqrt(192)).toBeCloseTo(1.58962, 4);
  expect(softmaxScale(192, { ...V3, scaling: { type: 'none' } })).toBe(1 / Math.sqrt(192));
});
