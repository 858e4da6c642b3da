/**
 * Owns: JSON as Python's `json.dumps(value, ensure_ascii=False)` writes it: the form in which models were shown it.
 * Refuses to know: what is in it.
 */

/** A JSON value that keeps what JavaScript's own reading loses: the order of all keys, and numbers as written. */
export type JsonTree =
  | { readonly kind: 'object'; readonly entries: readonly (readonly [key: string, value: JsonTree])[] }
  | { readonly kind: 'array'; readonly items: readonly JsonTree[] }
  | { readonly kind: 'string'; readonly text: string }
  | { readonly kind: 'number' | 'literal'; readonly text: string };

/** Deeper nesting is refused: no call needs it, and recursion must end. */
const MOST_DEPTH = 200;

/**
 * Reads JSON text; undefined where it is none, or nested deeper than 200.
 *
 * A key that comes twice keeps its first place and its last value, as in Python.
 *
 * @example readJson('{"2": 1.0, "1": 5}'); // both keys in this order, 1.0 still a float
 */
export function readJson(text: string): JsonTree | undefined {
  const lexer = new Lexer(text);
  try {
    const tree = lexer.value(0);
    return lexer.atEnd() ? tree : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/**
 * Python's text of a value.
 *
 * @example writeJson(readJson('{"a":[1,2.50],"b":"é"}')); // '{"a": [1, 2.5], "b": "é"}'
 */
export function writeJson(tree: JsonTree): string {
  switch (tree.kind) {
    case 'object':
      return `{${tree.entries.map(([key, value]) => `${quoted(key)}: ${writeJson(value)}`).join(', ')}}`;
    case 'array':
      return `[${tree.items.map(writeJson).join(', ')}]`;
    case 'string':
      return quoted(tree.text);
    case 'number':
      return pythonNumber(tree.text);
    case 'literal':
      return tree.text;
  }
}

/**
 * Python's text of a JavaScript value, as far as JSON can say it.
 *
 * @example pythonJson({ name: 'f', n: [1, 2] }); // '{"name": "f", "n": [1, 2]}'
 */
export function pythonJson(value: unknown): string {
  const tree = readJson(JSON.stringify(value) ?? 'null');
  // JSON.stringify throws for what it cannot write, so only depth is left to fail here.
  if (tree === undefined) throw new RangeError('JSON nested too deeply');
  return writeJson(tree);
}

/**
 * A string as it stands in JSON; of a part of a string, the part without quotes is the part of the whole.
 *
 * @example quoted('a "b"'); // '"a \\"b\\""'
 */
export const quoted = (text: string): string => JSON.stringify(text);

const INTEGER = /^-?\d+$/;

/** `1e5` is 100000.0 in Python, `1.50` is 1.5, `12345678901234567890` stays. */
function pythonNumber(text: string): string {
  if (INTEGER.test(text)) return text === '-0' ? '0' : text;
  const value = Number(text);
  if (!Number.isFinite(value)) return value > 0 ? 'Infinity' : '-Infinity';
  const [digits = '0', exponentText = '0'] = value.toExponential().split('e');
  const exponent = Number(exponentText);
  if (value !== 0 && (exponent < -4 || exponent >= 16)) {
    return `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  }
  const plain = exponent < 0 && value !== 0 ? value.toFixed(decimals(digits) - exponent) : String(value);
  if (Object.is(value, -0)) return '-0.0';
  return plain.includes('.') ? plain : `${plain}.0`;
}

const decimals = (digits: string): number => digits.split('.')[1]?.length ?? 0;

const BLANK = /[ \t\n\r]*/y;
/** What is inside is judged by JSON.parse. */
const STRING = /"(?:[^"\\]|\\.)*"/sy;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const LITERAL = /true|false|null/y;

class Lexer {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): JsonTree {
    if (depth > MOST_DEPTH) throw new SyntaxError('too deep');
    this.#take(BLANK);
    if (this.#skip('{')) return this.#object(depth);
    if (this.#skip('[')) return this.#array(depth);
    const string = this.#take(STRING);
    if (string !== undefined) return { kind: 'string', text: JSON.parse(string) as string };
    const number = this.#take(NUMBER);
    if (number !== undefined) return { kind: 'number', text: number };
    const literal = this.#take(LITERAL);
    if (literal !== undefined) return { kind: 'literal', text: literal };
    throw new SyntaxError('no value');
  }

  atEnd(): boolean {
    this.#take(BLANK);
    return this.#at === this.#text.length;
  }

  #object(depth: number): JsonTree {
    const entries = new Map<string, JsonTree>();
    this.#take(BLANK);
    if (this.#skip('}')) return { kind: 'object', entries: [] };
    do {
      this.#take(BLANK);
      const key = this.#take(STRING);
      this.#take(BLANK);
      if (key === undefined || !this.#skip(':')) throw new SyntaxError('no key');
      entries.set(JSON.parse(key) as string, this.value(depth + 1));
      this.#take(BLANK);
    } while (this.#skip(','));
    if (!this.#skip('}')) throw new SyntaxError('no end of an object');
    return { kind: 'object', entries: [...entries] };
  }

  #array(depth: number): JsonTree {
    const items: JsonTree[] = [];
    this.#take(BLANK);
    if (this.#skip(']')) return { kind: 'array', items };
    do {
      items.push(this.value(depth + 1));
      this.#take(BLANK);
    } while (this.#skip(','));
    if (!this.#skip(']')) throw new SyntaxError('no end of a list');
    return { kind: 'array', items };
  }

  #skip(char: string): boolean {
    if (this.#text[this.#at] !== char) return false;
    this.#at++;
    return true;
  }

  #take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found === undefined) return undefined;
    this.#at += found.length;
    return found;
  }
}
