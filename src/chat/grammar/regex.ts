/**
 * Owns: the syntax of patterns: the part of JavaScript's regular expressions (flag u) that a finite automaton can read.
 * Refuses to know: automata, JSON, what a pattern is for.
 */
import { HadalError } from '../../error.ts';
import { ANY_CHAR, type CharSet, charSet, charsOf, complement, minus, union } from './char-set.ts';
import { ANY_TEXT, choice, oneOf, REST, type Regular, repeat, sequence } from './regular.ts';

/** Longest pattern in UTF-16 units, deepest nesting of groups, largest count of a quantifier. */
const MOST = { length: 20_000, depth: 100, count: 100_000, propertyClasses: 8 } as const;

/** Whether a pattern must be all of the text, or only somewhere in it (JSON Schema's `pattern`). */
export type Anchoring = 'whole' | 'search';

/** An expression before `^` and `$` have found their places. */
type Parsed =
  | { readonly kind: 'regular'; readonly regular: Regular }
  | { readonly kind: 'start' | 'end' }
  | { readonly kind: 'parsed-sequence'; readonly parts: readonly Parsed[] }
  | { readonly kind: 'parsed-choice'; readonly options: readonly Parsed[] };

/**
 * The language of a pattern.
 *
 * @throws HadalError `regex-invalid` for what is no pattern, `regex-unsupported` for what an automaton cannot read:
 *   lookaround, backreferences, word boundaries, `^` and `$` in the middle.
 * @example parseRegex('^[a-z]+$', 'search')
 */
export function parseRegex(pattern: string, anchoring: Anchoring): Regular {
  if (pattern.length > MOST.length) {
    throw new HadalError('grammar-too-large', {
      what: 'the pattern',
      expected: `at most ${MOST.length} characters`,
      got: `${pattern.length}`,
      next: 'shorten it',
    });
  }
  const reader = new Reader(pattern);
  const parsed = reader.choice(0);
  if (!reader.atEnd) throw reader.invalid('a group that opens', '")" without one');
  return anchored(parsed, anchoring === 'search', anchoring === 'search', reader);
}

/**
 * The language of what was parsed, where it may begin or end in the middle of a text.
 *
 * @param openStart whether text may come before, unless there is a `^`
 */
function anchored(parsed: Parsed, openStart: boolean, openEnd: boolean, reader: Reader): Regular {
  if (parsed.kind === 'parsed-choice') {
    return choice(...parsed.options.map((option) => anchored(option, openStart, openEnd, reader)));
  }
  const parts = parsed.kind === 'parsed-sequence' ? [...parsed.parts] : [parsed];
  let start = openStart;
  let end = openEnd;
  while (parts[0]?.kind === 'start') {
    parts.shift();
    start = false;
  }
  while (parts.at(-1)?.kind === 'end') {
    parts.pop();
    end = false;
  }
  // A group that is all there is may hold the anchors.
  const only = parts.length === 1 ? parts[0]! : undefined;
  if (only?.kind === 'parsed-choice' || only?.kind === 'parsed-sequence') {
    return anchored(only, start, end, reader);
  }
  const inside = parts.map((part) => withoutAnchors(part, reader));
  return sequence(...(start ? [ANY_TEXT] : []), ...inside, ...(end ? [REST] : []));
}

function withoutAnchors(parsed: Parsed, reader: Reader): Regular {
  switch (parsed.kind) {
    case 'regular':
      return parsed.regular;
    case 'parsed-sequence':
      return sequence(...parsed.parts.map((part) => withoutAnchors(part, reader)));
    case 'parsed-choice':
      return choice(...parsed.options.map((option) => withoutAnchors(option, reader)));
    default:
      throw reader.unsupported(`"${parsed.kind === 'start' ? '^' : '$'}" in the middle of the pattern`);
  }
}

const DIGIT = charsOf('0123456789');
const WORD = charSet([
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
]);
/** White space and line ends of ECMAScript. */
const SPACE = charSet([
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
]);
const LINE_ENDS = charsOf('\n\r\u2028\u2029');
const CLASSES: ReadonlyMap<string, CharSet> = new Map([
  ['d', DIGIT],
  ['D', complement(DIGIT)],
  ['w', WORD],
  ['W', complement(WORD)],
  ['s', SPACE],
  ['S', complement(SPACE)],
]);
const CONTROL_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['v', '\v'],
  ['f', '\f'],
  ['0', '\0'],
]);

/** Reads a pattern from left to right. */
class Reader {
  readonly #pattern: string;
  #at = 0;
  /** Unicode properties that were met. */
  readonly #properties = new Map<string, CharSet>();
  #everyChar: string | undefined;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  get atEnd(): boolean {
    return this.#at >= this.#pattern.length;
  }

  choice(depth: number): Parsed {
    if (depth > MOST.depth) throw this.unsupported(`groups nested more than ${MOST.depth} deep`);
    const options = [this.#sequence(depth)];
    while (this.#take('|')) options.push(this.#sequence(depth));
    return options.length === 1 ? options[0]! : { kind: 'parsed-choice', options };
  }

  #sequence(depth: number): Parsed {
    const parts: Parsed[] = [];
    while (!this.atEnd && !this.#sees('|') && !this.#sees(')')) parts.push(this.#term(depth));
    return parts.length === 1 ? parts[0]! : { kind: 'parsed-sequence', parts };
  }

  #term(depth: number): Parsed {
    if (this.#take('^')) return this.#unrepeated({ kind: 'start' });
    if (this.#take('$')) return this.#unrepeated({ kind: 'end' });
    const atom = this.#atom(depth);
    const bounds = this.#quantifier();
    if (bounds === undefined) return atom;
    // Lazy repetition has the same language.
    this.#take('?');
    if (this.#quantifier() !== undefined) throw this.invalid('one quantifier', 'two');
    return { kind: 'regular', regular: repeat(withoutAnchors(atom, this), bounds.min, bounds.max) };
  }

  #unrepeated(anchor: Parsed): Parsed {
    if (this.#quantifier() !== undefined)
      throw this.invalid('something to repeat', 'a quantifier after "^" or "$"');
    return anchor;
  }

  #atom(depth: number): Parsed {
    const char = this.#next();
    switch (char) {
      case '(':
        return this.#group(depth);
      case '[':
        return one(this.#charClass());
      case '.':
        return one(minus(ANY_CHAR, LINE_ENDS));
      case '\\':
        return one(this.#escape(false));
      case '*':
      case '+':
      case '?':
      case '{':
      case '}':
      case ']':
        throw this.invalid('something to repeat, or an escaped character', `"${char}"`);
      default:
        return one(charsOf(char));
    }
  }

  #group(depth: number): Parsed {
    if (this.#take('?')) {
      if (this.#sees('=') || this.#sees('!') || this.#sees('<=') || this.#sees('<!')) {
        throw this.unsupported('lookahead and lookbehind');
      }
      const name = /^<[\p{ID_Start}$_][\p{ID_Continue}$]*>/u.exec(
        this.#pattern.slice(this.#at, this.#at + 200),
      );
      if (name !== null) this.#at += name[0].length;
      else if (!this.#take(':')) throw this.unsupported('groups with flags');
    }
    const inside = this.choice(depth + 1);
    if (!this.#take(')')) throw this.invalid('")"', 'the end');
    return inside;
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#take('*')) return { min: 0, max: Number.POSITIVE_INFINITY };
    if (this.#take('+')) return { min: 1, max: Number.POSITIVE_INFINITY };
    if (this.#take('?')) return { min: 0, max: 1 };
    const braces = /^\{(\d+)(,?)(\d*)\}/.exec(this.#pattern.slice(this.#at, this.#at + 40));
    if (braces === null) return undefined;
    this.#at += braces[0].length;
    const [, first = '', comma, second = ''] = braces;
    if (comma === '' && second !== '') throw this.invalid('a count', braces[0]);
    const min = Number(first);
    const max = comma === '' ? min : second === '' ? Number.POSITIVE_INFINITY : Number(second);
    if (min > max) throw this.invalid('counts in ascending order', braces[0]);
    if (min > MOST.count || (max > MOST.count && max !== Number.POSITIVE_INFINITY)) {
      throw this.unsupported(`counts above ${MOST.count}`);
    }
    return { min, max };
  }

  #charClass(): CharSet {
    const negated = this.#take('^');
    const sets: CharSet[] = [];
    while (!this.#take(']')) {
      const first = this.#classAtom();
      if (!this.#sees('-') || this.#pattern[this.#at + 1] === ']') {
        sets.push(first);
        continue;
      }
      this.#take('-');
      const last = this.#classAtom();
      if (first.length !== 2 || last.length !== 2 || first[0] !== first[1] || last[0] !== last[1]) {
        throw this.invalid('a range between two characters', 'a class in it');
      }
      if (first[0]! > last[0]!) throw this.invalid('a range in ascending order', 'a descending one');
      sets.push(charSet([[first[0]!, last[0]!]]));
    }
    return negated ? complement(union(...sets)) : union(...sets);
  }

  #classAtom(): CharSet {
    if (this.atEnd) throw this.invalid('"]"', 'the end');
    const char = this.#next();
    return char === '\\' ? this.#escape(true) : charsOf(char);
  }

  #escape(inClass: boolean): CharSet {
    if (this.atEnd) throw this.invalid('a character after "\\"', 'the end');
    const char = this.#next();
    const known = CLASSES.get(char);
    if (known !== undefined) return known;
    if (char === '0' && /\d/.test(this.#pattern[this.#at] ?? '')) throw this.unsupported('octal escapes');
    const control = CONTROL_ESCAPES.get(char);
    if (control !== undefined) return charsOf(control);
    switch (char) {
      case 'x':
        return this.#code(/^[0-9A-Fa-f]{2}/, 0);
      case 'u':
        return this.#sees('{') ? this.#code(/^\{[0-9A-Fa-f]{1,6}\}/, 1) : this.#utf16();
      case 'c':
        return charsOf(
          String.fromCharCode(this.#match(/^[A-Za-z]/, 'a letter after "\\c"').charCodeAt(0) % 32),
        );
      case 'p':
      case 'P':
        return this.#property(char);
      case 'b':
        if (inClass) return charsOf('\b');
        throw this.unsupported('word boundaries');
      case 'B':
        throw this.unsupported('word boundaries');
      case 'k':
        throw this.unsupported('backreferences');
    }
    if (/[1-9]/.test(char)) throw this.unsupported('backreferences');
    if (/[A-Za-z]/.test(char)) throw this.invalid('a known escape', `"\\${char}"`);
    return charsOf(char);
  }

  /** `\uD83D\uDE00` is one character. */
  #utf16(): CharSet {
    const first = Number.parseInt(this.#match(/^[0-9A-Fa-f]{4}/, 'four hexadecimal digits'), 16);
    const low = /^\\u([Dd][C-Fc-f][0-9A-Fa-f]{2})/.exec(this.#pattern.slice(this.#at, this.#at + 6));
    if (first >= 0xd800 && first <= 0xdbff && low !== null) {
      this.#at += 6;
      const code = String.fromCharCode(first, Number.parseInt(low[1]!, 16)).codePointAt(0)!;
      return [code, code];
    }
    return charSet([[first, first]]);
  }

  #code(digits: RegExp, braces: number): CharSet {
    const text = this.#match(digits, 'hexadecimal digits');
    const code = Number.parseInt(text.slice(braces, text.length - braces), 16);
    if (code > 0x10ffff) throw this.invalid('a character up to 10FFFF', text);
    return charSet([[code, code]]);
  }

  /** A Unicode property, as this JavaScript engine knows it. */
  #property(letter: 'p' | 'P'): CharSet {
    const name = this.#match(/^\{[A-Za-z0-9_=]{1,80}\}/, 'a property in braces');
    const known = this.#properties.get(letter + name);
    if (known !== undefined) return known;
    if (this.#properties.size === MOST.propertyClasses) {
      throw this.unsupported(`more than ${MOST.propertyClasses} Unicode properties`);
    }
    let property: RegExp;
    try {
      property = new RegExp(`\\${letter}${name}+`, 'gu');
    } catch {
      throw this.invalid('a known property', name);
    }
    this.#everyChar ??= everyChar();
    const ranges: [number, number][] = [];
    for (const { 0: run } of this.#everyChar.matchAll(property)) {
      ranges.push([run.codePointAt(0)!, run.codePointAt(run.length - (endsInPair(run) ? 2 : 1))!]);
    }
    const set = charSet(ranges);
    this.#properties.set(letter + name, set);
    return set;
  }

  #match(wanted: RegExp, name: string): string {
    const found = wanted.exec(this.#pattern.slice(this.#at, this.#at + 100));
    if (found === null) throw this.invalid(name, JSON.stringify(this.#pattern.slice(this.#at, this.#at + 8)));
    this.#at += found[0].length;
    return found[0];
  }

  #sees(text: string): boolean {
    return this.#pattern.startsWith(text, this.#at);
  }

  #take(text: string): boolean {
    if (!this.#sees(text)) return false;
    this.#at += text.length;
    return true;
  }

  #next(): string {
    const char = String.fromCodePoint(this.#pattern.codePointAt(this.#at)!);
    this.#at += char.length;
    return char;
  }

  invalid(expected: string, got: string): HadalError {
    return new HadalError('regex-invalid', { ...this.#place(), expected, got, next: 'correct the pattern' });
  }

  unsupported(feature: string): HadalError {
    return new HadalError('regex-unsupported', {
      ...this.#place(),
      expected: 'what a finite automaton can read',
      got: feature,
      next: 'write it without',
    });
  }

  #place(): { what: string } {
    const shown = this.#pattern.length > 60 ? `${this.#pattern.slice(0, 60)}…` : this.#pattern;
    return { what: `the pattern ${JSON.stringify(shown)} at ${this.#at}` };
  }
}

function one(set: CharSet): Parsed {
  return { kind: 'regular', regular: oneOf(set) };
}

/** All characters, in order. */
function everyChar(): string {
  const units = new Uint16Array(2 * 0x100000 + 0x10000 - 0x800);
  let length = 0;
  for (let code = 0; code <= 0xffff; code++) if (code < 0xd800 || code > 0xdfff) units[length++] = code;
  for (let code = 0; code < 0x100000; code++) {
    units[length++] = 0xd800 | (code >> 10);
    units[length++] = 0xdc00 | (code & 0x3ff);
  }
  return new TextDecoder('utf-16le', { ignoreBOM: true }).decode(units);
}

/** Whether a text ends with a character of two UTF-16 units. */
function endsInPair(run: string): boolean {
  const unit = run.charCodeAt(run.length - 1);
  return unit >= 0xdc00 && unit <= 0xdfff;
}
