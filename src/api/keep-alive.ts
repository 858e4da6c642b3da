/**
 * Owns: `keep_alive`, which every protocol takes: how long a model stays loaded after an answer.
 * Refuses to know: models, any one protocol.
 */
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { honoured } from './fields.ts';

/** The field as it may be written. */
export const keepAliveField = z.union([z.number(), z.string().max(32)]).nullish();

/** Its line in every table. */
export const KEEP_ALIVE_RULE = honoured(
  'how long the model stays loaded after this: seconds or "5m"; 0 unloads, -1 keeps',
);

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/**
 * A `keep_alive` in milliseconds: a number of seconds, or a text like `"90s"`, `"5m"`, `"1h30m"`. Below 0 is for ever.
 *
 * @throws HadalError `request-invalid`
 * @example keepAliveOf('5m'); // 300000
 */
export function keepAliveOf(given: number | string | undefined): number | undefined {
  if (given === undefined) return undefined;
  const seconds =
    typeof given === 'number' ? given : /^-?\d+(\.\d+)?$/.test(given) ? Number(given) : undefined;
  if (seconds !== undefined && Number.isFinite(seconds)) return seconds * 1000;
  const text = `${given}`;
  if (/^-?(\d+(\.\d+)?(ms|s|m|h))+$/.test(text)) {
    const parts = text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g);
    const sum = [...parts].reduce((total, [, count, unit]) => total + Number(count) * UNITS[unit!]!, 0);
    return text.startsWith('-') ? -1 : sum;
  }
  throw new HadalError('request-invalid', {
    what: 'keep_alive',
    expected: 'seconds, or a time like "5m"',
    got: JSON.stringify(given),
    next: 'correct the request',
  });
}
