/**
 * Owns: reading a command's words and flags strictly: nothing unknown, nothing doubled, every value of its kind.
 * Refuses to know: what the commands do with them.
 */
import { parseArgs } from 'node:util';
import type { ArgsDef } from 'citty';
import { nearest } from '../hub/nearest.ts';
import { usageError } from './exit-codes.ts';

/** Bounds of a numeric flag. */
export interface NumberBounds {
  readonly min?: number;
  readonly max?: number;
  readonly whole?: boolean;
}

/** Which flags may be given more than once, and how many words a command takes. */
export interface ArgumentRules {
  readonly repeated?: readonly string[];
  /** The most words; any number when absent. */
  readonly words?: number;
}

/**
 * The words and flags of one command line.
 *
 * @example
 * const given = readArguments(command.args, ['model.gguf', '--seed', '7']);
 * given.number('seed', { whole: true }); // 7
 */
export class Arguments {
  /** Everything that is no flag, in order. */
  readonly words: readonly string[];
  readonly #values: ReadonlyMap<string, readonly (string | true)[]>;

  constructor(words: readonly string[], values: ReadonlyMap<string, readonly (string | true)[]>) {
    this.words = words;
    this.#values = values;
  }

  /** Whether a flag without a value was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** The text of a flag, or undefined. */
  text(name: string): string | undefined {
    const value = this.#values.get(name)?.at(-1);
    return typeof value === 'string' ? value : undefined;
  }

  /** The texts of a flag that may be repeated. */
  texts(name: string): readonly string[] {
    return (this.#values.get(name) ?? []).filter((value) => typeof value === 'string');
  }

  /** The number of a flag, or undefined. Throws a usage error for anything else. */
  number(name: string, { min, max, whole = false }: NumberBounds = {}): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    const number = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    const fits =
      Number.isFinite(number) &&
      (!whole || Number.isSafeInteger(number)) &&
      number >= (min ?? Number.NEGATIVE_INFINITY) &&
      number <= (max ?? Number.POSITIVE_INFINITY);
    if (fits) return number;
    const kind = whole ? 'a whole number' : 'a number';
    const from = min === undefined ? '' : ` from ${min}`;
    const to = max === undefined ? (min === undefined ? '' : ' up') : ` to ${max}`;
    throw usageError({ what: `--${name}`, expected: `${kind}${from}${to}`, got: JSON.stringify(text) });
  }

  /** A word by its place. Throws a usage error when it is missing. */
  word(index: number, called: string, usage: string): string {
    const word = this.words[index];
    if (word === undefined) throw usageError({ what: `${called} is missing`, next: `usage: ${usage}` });
    return word;
  }
}

/**
 * Reads what follows the name of a command.
 *
 * @throws HadalError `usage` with one sentence, naming the nearest flag for an unknown one.
 */
export function readArguments(
  definitions: object,
  raw: readonly string[],
  { repeated = [], words: mostWords }: ArgumentRules = {},
): Arguments {
  const flags = flagTable(definitions as ArgsDef);
  const names = [...flags.values()].flatMap((flag) => [
    `--${flag.name}`,
    ...flag.aliases.map((alias) => (alias.length === 1 ? `-${alias}` : `--${alias}`)),
  ]);
  const words: string[] = [];
  const values = new Map<string, (string | true)[]>();
  for (const token of tokensOf(flags, raw)) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = flags.get(token.name);
    if (flag === undefined) throw unknownFlag(token.rawName, names);
    const value = flagValue(flag, token);
    const seen = values.get(flag.name) ?? [];
    if (seen.length > 0 && !repeated.includes(flag.name)) {
      throw usageError({ what: `--${flag.name}`, expected: 'it once', got: 'it twice' });
    }
    values.set(flag.name, [...seen, value]);
  }
  if (mostWords !== undefined && words.length > mostWords) {
    const extra = words[mostWords] ?? '';
    throw usageError({
      what: 'too many words',
      expected: `${mostWords} after the command`,
      got: `${JSON.stringify(extra)} as well`,
      next: 'put a text with spaces in quotes',
    });
  }
  return new Arguments(words, values);
}

interface Flag {
  readonly name: string;
  readonly kind: 'boolean' | 'string';
  readonly aliases: readonly string[];
}

/** Every spelling of every flag; `--json` and `--help` belong to all commands. */
function flagTable(definitions: ArgsDef): Map<string, Flag> {
  const table = new Map<string, Flag>();
  const everywhere: ArgsDef = {
    json: { type: 'boolean' },
    help: { type: 'boolean', alias: 'h' },
  };
  for (const [name, definition] of Object.entries({ ...everywhere, ...definitions })) {
    if (definition.type === 'positional') continue;
    const aliases = [('alias' in definition && definition.alias) || []].flat();
    const flag: Flag = { name, kind: definition.type === 'boolean' ? 'boolean' : 'string', aliases };
    for (const spelling of [name, ...aliases]) table.set(spelling, flag);
  }
  return table;
}

function tokensOf(flags: ReadonlyMap<string, Flag>, raw: readonly string[]) {
  const options: Record<string, { type: 'boolean' | 'string'; short?: string }> = {};
  for (const [spelling, flag] of flags) {
    if (spelling.length === 1) options[flag.name] = { type: flag.kind, short: spelling };
    else options[spelling] = { type: flag.kind, ...options[spelling] };
  }
  return parseArgs({ args: [...raw], options, strict: false, allowPositionals: true, tokens: true }).tokens;
}

function flagValue(
  flag: Flag,
  token: { rawName: string; value: string | undefined; inlineValue: boolean | undefined },
): string | true {
  if (flag.kind === 'boolean') {
    if (token.value === undefined) return true;
    throw usageError({ what: token.rawName, expected: 'no value', got: JSON.stringify(token.value) });
  }
  const { value } = token;
  const looksLikeFlag = value !== undefined && /^-(?![\d.])./.test(value);
  if (value === undefined || (looksLikeFlag && token.inlineValue !== true)) {
    throw usageError({
      what: token.rawName,
      expected: 'a value after it',
      got: value === undefined ? 'nothing' : value,
      ...(looksLikeFlag ? { next: `write ${token.rawName}=${value} if that is the value` } : {}),
    });
  }
  return value;
}

function unknownFlag(rawName: string, names: readonly string[]) {
  const guess = nearest(rawName, names);
  return usageError({
    what: `${rawName} is not a flag of this command`,
    next: guess === undefined ? 'see --help' : `did you mean ${guess}?`,
  });
}
