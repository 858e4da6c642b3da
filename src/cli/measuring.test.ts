import { expect, test } from 'vitest';
import { seeded, spreadOf } from './measuring.ts';

test('a spread has the median of odd and even numbers of rounds', () => {
  expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3, rounds: 3 });
  expect(spreadOf([4, 1, 2, 10])).toEqual({ median: 3, min: 1, max: 10, rounds: 4 });
  expect(spreadOf([]).median).toBeNaN();
});

test('seeded numbers are the same every time and spread over [0, 1)', () => {
  const [a, b, c] = [seeded(1), seeded(1), seeded(2)];
  const first = Array.from({ length: 1000 }, a);
  expect(Array.from({ length: 1000 }, b)).toEqual(first);
  expect(c()).not.toBe(first[0]);
  expect(Math.min(...first)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...first)).toBeLessThan(1);
  const mean = first.reduce((sum, x) => sum + x, 0) / first.length;
  expect(Math.abs(mean - 0.5)).toBeLessThan(0.05);
});
