import fc from 'fast-check';
import { expect, test } from 'vitest';
import { depthOf } from './json-body.ts';

const trueDepth = (value: unknown): number =>
  typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(trueDepth)) : 0;

test('the depth is that of what is read, however brackets and quotes stand in strings', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), (value) => {
      expect(depthOf(JSON.stringify(value), 1000)).toBe(trueDepth(value));
    }),
  );
  expect(depthOf('["\\\\", {"a": "\\"[[["}]', 10)).toBe(2);
});

test('counting stops above the bound, whatever follows', () => {
  expect(depthOf('['.repeat(1_000_000), 64)).toBe(65);
  expect(depthOf(`"${'['.repeat(1_000_000)}`, 64)).toBe(0);
});
