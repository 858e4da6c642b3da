import { expect, test } from 'vitest';
import { credentialOf } from './credentials.ts';

const of = (...headers: [string, string][]) => credentialOf(new Headers(headers));

test.each([
  ['authorization', 'Bearer hdl_x'],
  ['authorization', 'bearer   hdl_x'],
  ['authorization', ' BEARER hdl_x '],
  ['x-api-key', 'hdl_x'],
  ['api-key', ' hdl_x'],
])('%s: %s', (header, value) => {
  expect(of([header, value])).toBe('hdl_x');
});

test('none is none, and an empty header says nothing', () => {
  expect(of()).toBeUndefined();
  expect(of(['authorization', ''], ['x-api-key', 'hdl_x'])).toBe('hdl_x');
  expect(of(['x-api-key', '  '])).toBeUndefined();
});

test('headers that agree are one key; others are refused, whichever comes first', () => {
  expect(of(['authorization', 'Bearer a'], ['x-api-key', 'a'], ['api-key', 'a'])).toBe('a');
  expect(() => of(['authorization', 'Bearer a'], ['api-key', 'b'])).toThrow('expected one key');
  expect(() => of(['x-api-key', 'b'], ['api-key', 'a'])).toThrow('expected one key');
});

test.each([
  ['authorization', 'Basic eDp5'],
  ['authorization', 'hdl_x'],
  ['authorization', 'Bearer a b'],
  ['authorization', 'Bearer'],
  // Two headers of one name arrive as one, with a comma.
  ['authorization', 'Bearer a, Bearer b'],
])('%s: %s is no key', (header, value) => {
  expect(() => of([header, value])).toThrow(expect.objectContaining({ code: 'key-wrong' }));
});

test('nor is anything longer than keys are', () => {
  expect(() => of(['x-api-key', 'a'.repeat(513)])).toThrow(expect.objectContaining({ code: 'key-wrong' }));
});
