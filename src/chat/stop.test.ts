import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StopMatcher } from './stop.ts';

/** Reads character by character and stops as soon as a stop string is complete: the meaning, in the plainest form. */
function meaning(text: string, stops: readonly string[]): { text: string; stop?: string } {
  for (let end = 1; end <= text.length; end++) {
    const complete = stops.filter((stop) => text.slice(0, end).endsWith(stop));
    const longest = complete.sort((a, b) => b.length - a.length)[0];
    if (longest !== undefined) return { text: text.slice(0, end - longest.length), stop: longest };
  }
  return { text };
}

function run(pieces: readonly string[], stops: readonly string[]): { text: string; stop?: string } {
  const matcher = new StopMatcher(stops);
  let text = '';
  let stop: string | undefined;
  for (const piece of pieces) {
    const step = matcher.push(piece);
    text += step.text;
    stop ??= step.stop;
  }
  text += matcher.end();
  return stop === undefined ? { text } : { text, stop };
}

function cut(text: string, at: readonly number[]): string[] {
  const places = [...new Set([0, ...at.map((place) => place % (text.length + 1)), text.length])].sort(
    (a, b) => a - b,
  );
  return places.slice(1).map((place, i) => text.slice(places[i], place));
}

test('every way of cutting a text gives what reading it character by character gives', () => {
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 30 });
  const stops = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 1, maxLength: 5 }), {
    maxLength: 4,
  });
  fc.assert(
    fc.property(letters, stops, fc.array(fc.nat(), { maxLength: 12 }), (text, stopList, places) => {
      expect(run(cut(text, places), stopList)).toEqual(meaning(text, stopList));
    }),
    { numRuns: 3_000 },
  );
});

test('all 2^11 cuts of a text with overlapping stop strings', () => {
  const text = 'aabaabcaabab';
  for (let bits = 0; bits < 2 ** (text.length - 1); bits++) {
    const places = Array.from({ length: text.length - 1 }, (_, i) => i + 1).filter(
      (i) => (bits >> (i - 1)) & 1,
    );
    expect(run(cut(text, places), ['aabab', 'bcb'])).toEqual({ text: 'aabaabc', stop: 'aabab' });
  }
});

test('what may become a stop string is held back, and comes when it did not', () => {
  const matcher = new StopMatcher(['\n\nUser:']);
  expect(matcher.push('Hello\n')).toEqual({ text: 'Hello' });
  expect(matcher.push('\nUs')).toEqual({ text: '' });
  expect(matcher.push('ually')).toEqual({ text: '\n\nUsually' });
  expect(matcher.push('\n\nUser')).toEqual({ text: '' });
  expect(matcher.end()).toBe('\n\nUser');
});

test('nothing comes after a stop string', () => {
  const matcher = new StopMatcher(['.']);
  expect(matcher.push('a.b')).toEqual({ text: 'a', stop: '.' });
  expect(matcher.push('c')).toEqual({ text: '' });
  expect(matcher.end()).toBe('');
});

test('an empty stop string is refused', () => {
  expect(() => new StopMatcher(['x', ''])).toThrow('at least one character');
});
