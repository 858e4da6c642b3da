/**
 * Owns: numbers within bounds as regular languages over their digits.
 * Refuses to know: schemas, automata.
 */

import { charsOf } from './char-set.ts';
import { choice, literal, oneOf, optional, type Regular, range, repeat, sequence } from './regular.ts';

/** A bound on a number. */
export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** Most digits before and after the point: those that `JSON.stringify` writes without an exponent. */
const WHOLE_DIGITS = 21;
const PART_DIGITS = 25;

const DIGIT = range('0', '9');
const POSITIVE_DIGIT = range('1', '9');
const WHOLE = choice(literal('0'), sequence(POSITIVE_DIGIT, repeat(DIGIT, 0, WHOLE_DIGITS - 1)));
const POSITIVE_WHOLE = sequence(POSITIVE_DIGIT, repeat(DIGIT, 0, WHOLE_DIGITS - 1));
const POINT = literal('.');
const MINUS = literal('-');
const PART = optional(sequence(POINT, repeat(DIGIT, 1, PART_DIGITS)));

/** Whole numbers of up to 21 digits. */
export const INTEGER: Regular = choice(literal('0'), sequence(optional(MINUS), POSITIVE_WHOLE));

/** Numbers without an exponent. */
export const PLAIN_NUMBER: Regular = sequence(optional(MINUS), WHOLE, PART);

/** Numbers, with one digit before the point where there is an exponent; none overflows. */
export const NUMBER: Regular = choice(
  PLAIN_NUMBER,
  sequence(
    optional(MINUS),
    POSITIVE_DIGIT,
    optional(sequence(POINT, repeat(DIGIT, 1, 17))),
    oneOf(charsOf('eE')),
    optional(oneOf(charsOf('+-'))),
    choice(
      repeat(DIGIT, 1, 2),
      sequence(oneOf(charsOf('12')), DIGIT, DIGIT),
      sequence(literal('30'), range('0', '7')),
    ),
  ),
);

/**
 * Plain numbers that are at least (or above) a bound.
 *
 * @example atLeast({ value: 0, exclusive: false })
 */
export function atLeast({ value, exclusive }: Bound): Regular {
  const digits = digitsOf(Math.abs(value));
  if (value > 0 || (value === 0 && !exclusive)) return magnitudeFrom(digits, exclusive);
  const negative = value === 0 ? [] : [sequence(MINUS, magnitudeTo(digits, exclusive))];
  return choice(magnitudeFrom({ whole: '0', part: '' }, value === 0), ...negative);
}

/** Plain numbers that are at most (or below) a bound. */
export function atMost({ value, exclusive }: Bound): Regular {
  const digits = digitsOf(Math.abs(value));
  if (value < 0) return sequence(MINUS, magnitudeFrom(digits, exclusive));
  const below = sequence(MINUS, magnitudeFrom({ whole: '0', part: '' }, true));
  return value === 0 && exclusive ? below : choice(below, magnitudeTo(digits, exclusive));
}

/** Decimal digits of a number without leading zeros before the point or trailing ones after it. */
interface Digits {
  readonly whole: string;
  readonly part: string;
}

/** The digits of a number as JavaScript prints it. Example: `digitsOf(1.5e-7) // { whole: '0', part: '00000015' }`. */
function digitsOf(value: number): Digits {
  const [mantissa = '0', exponent = '0'] = String(value).split('e');
  const [whole = '0', part = ''] = mantissa.split('.');
  const shift = Number(exponent);
  const digits = whole + part;
  const point = whole.length + shift;
  const padded = point > 0 ? digits.padEnd(point, '0') : digits.padStart(digits.length + 1 - point, '0');
  const at = Math.max(1, point);
  return {
    whole: padded.slice(0, at).replace(/^0+(?=\d)/, ''),
    part: padded.slice(at).replace(/0+$/, ''),
  };
}

/** Numbers without a sign from a bound upwards. */
function magnitudeFrom({ whole, part }: Digits, exclusive: boolean): Regular {
  return choice(
    sequence(wholeAbove(whole), PART),
    sequence(literal(whole), exclusive ? partAbove(part) : partFrom(part)),
  );
}

/** Numbers without a sign up to a bound. */
function magnitudeTo({ whole, part }: Digits, exclusive: boolean): Regular {
  const here = exclusive ? partBelow(part) : choice(partBelow(part), partEqual(part));
  return choice(sequence(wholeBelow(whole), PART), sequence(literal(whole), here));
}

const digitsFrom = (first: number, last: number): Regular =>
  first > last ? choice() : range(String(first), String(last));

/** Whole numbers above one. */
function wholeAbove(whole: string): Regular {
  const options: Regular[] = [];
  const { length } = whole;
  if (length < WHOLE_DIGITS) {
    options.push(sequence(POSITIVE_DIGIT, repeat(DIGIT, length, WHOLE_DIGITS - 1)));
  }
  for (let i = 0; i < length; i++) {
    const higher = digitsFrom(Number(whole[i]) + 1, 9);
    options.push(sequence(literal(whole.slice(0, i)), higher, repeat(DIGIT, length - 1 - i, length - 1 - i)));
  }
  return choice(...options);
}

/** Whole numbers below one. */
function wholeBelow(whole: string): Regular {
  const options: Regular[] = [];
  const { length } = whole;
  if (length > 1) options.push(literal('0'), sequence(POSITIVE_DIGIT, repeat(DIGIT, 0, length - 2)));
  for (let i = 0; i < length; i++) {
    const lower = digitsFrom(i === 0 && length > 1 ? 1 : 0, Number(whole[i]) - 1);
    options.push(sequence(literal(whole.slice(0, i)), lower, repeat(DIGIT, length - 1 - i, length - 1 - i)));
  }
  return choice(...options);
}

const more = (used: number): Regular => repeat(DIGIT, 0, Math.max(0, PART_DIGITS - used));
const zeros = (used: number): Regular => repeat(literal('0'), 0, Math.max(0, PART_DIGITS - used));

/** What may follow a whole number so that the rest is exactly 0.part. */
function partEqual(part: string): Regular {
  if (part === '') return optional(sequence(POINT, literal('0'), zeros(1)));
  return sequence(POINT, literal(part), zeros(part.length));
}

/** Above 0.part. */
function partAbove(part: string): Regular {
  const options: Regular[] = [];
  for (let i = 0; i < part.length; i++) {
    options.push(sequence(literal(part.slice(0, i)), digitsFrom(Number(part[i]) + 1, 9), more(i + 1)));
  }
  options.push(sequence(literal(part), zeros(part.length + 1), POSITIVE_DIGIT, more(part.length + 1)));
  return sequence(POINT, choice(...options));
}

/** At least 0.part. */
function partFrom(part: string): Regular {
  return part === '' ? PART : choice(partEqual(part), partAbove(part));
}

/** Below 0.part. */
function partBelow(part: string): Regular {
  if (part === '') return choice();
  const options: Regular[] = [];
  for (let i = 0; i < part.length; i++) {
    if (i > 0) options.push(literal(part.slice(0, i)));
    options.push(sequence(literal(part.slice(0, i)), digitsFrom(0, Number(part[i]) - 1), more(i + 1)));
  }
  return optional(sequence(POINT, choice(...options)));
}
