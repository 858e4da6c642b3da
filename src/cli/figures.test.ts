import { expect, test } from 'vitest';
import { digits, formatBytes, formatCount, formatMs, perSecond, table } from './figures.ts';

test.each([
  [0, '0 bytes'],
  [999, '999 bytes'],
  [1000, '1.00 kB'],
  [98_362_432, '98.4 MB'],
  [999_499, '999 kB'],
  [999_500, '1.00 MB'],
  [23_100_000_000, '23.1 GB'],
  [5e15, '5,000 TB'],
])('%d bytes', (bytes, written) => expect(formatBytes(bytes)).toBe(written));

test.each([
  [0.5, '0.50'],
  [12.345, '12.3'],
  [100.4, '100'],
  [8191.6, '8,192'],
])('three digits of %d', (value, written) => expect(digits(value)).toBe(written));

test('counts, times and rates', () => {
  expect(formatCount(1234567)).toBe('1,234,567');
  expect(formatMs(12.3)).toBe('12.3 ms');
  expect(formatMs(2345)).toBe('2.35 s');
  expect(perSecond(10, 500)).toBe(20);
  expect(perSecond(0, 500)).toBeUndefined();
  expect(perSecond(10, 0)).toBeUndefined();
});

test('columns are as wide as their widest cell, without blanks at the end', () => {
  expect(table([['a', '1', 'x'], ['bbb', '22'], []], [1])).toBe('a     1  x\nbbb  22\n');
});
