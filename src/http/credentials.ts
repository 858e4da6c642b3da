/**
 * Owns: finding the key that a request carries, in whatever header it is: the only place that looks.
 * Refuses to know: which keys are right.
 */
import { HadalError } from '../error.ts';

/** Longer values are no keys of anybody's. */
const MOST_CHARACTERS = 512;

/** Every header that carries a key, and how. */
const FORMS: readonly (readonly [header: string, read: (value: string) => string | undefined])[] = [
  ['authorization', (value) => /^bearer +(\S+)$/i.exec(value.trim())?.[1]],
  ['x-api-key', (value) => value.trim() || undefined],
  ['api-key', (value) => value.trim() || undefined],
];

/**
 * The key of a request, or undefined where it carries none. Two headers that disagree are refused: otherwise one part of
 * a system could look at the one and another part at the other.
 *
 * @throws HadalError `key-conflict`, `key-wrong` for a header that holds something else than a key
 * @example credentialOf(new Headers({ authorization: 'Bearer hdl_x' })); // 'hdl_x'
 */
export function credentialOf(headers: Headers): string | undefined {
  const found = new Set<string>();
  for (const [header, read] of FORMS) {
    const value = headers.get(header);
    if (value === null || value.trim() === '') continue;
    const key = value.length > MOST_CHARACTERS ? undefined : read(value);
    if (key === undefined) throw wrongKey(header);
    found.add(key);
  }
  if (found.size <= 1) return [...found][0];
  throw new HadalError('key-conflict', {
    what: 'the request',
    expected: 'one key',
    got: 'headers with different ones',
    next: 'send one of them',
  });
}

function wrongKey(header: string): HadalError {
  const form = header === 'authorization' ? '`Bearer KEY`' : 'a key';
  return new HadalError('key-wrong', { what: `the header ${header}`, expected: form, got: 'something else' });
}
