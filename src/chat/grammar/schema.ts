/**
 * Owns: how the JSON texts of a schema are put together: objects, lists, alternatives, references.
 * Refuses to know: what keywords mean together (facts), the automata of the pieces, tokens.
 */
import type { Budget } from './budget.ts';
import {
  type Alternatives,
  both,
  type Facts,
  factsOf,
  inside,
  invalid,
  type JsonType,
  type Located,
  onlyRef,
  references,
  sameJson,
  saysNothing,
  TYPES,
  typesOf,
  unsupported,
  withoutAlternatives,
} from './facts.ts';
import { FORMATS } from './formats.ts';
import type { JsonTexts } from './json-texts.ts';
import { startThreads } from './machine.ts';
import { NetworkBuilder } from './network.ts';

/** How deep schemas may stand in each other, and references lead on. */
const MOST_NESTING = 100;
/** Most values of an `enum`. */
const MOST_VALUES = 50_000;

/** What the compilers of one grammar share. */
export interface SchemaParts {
  readonly builder: NetworkBuilder;
  readonly texts: JsonTexts;
  readonly budget: Budget;
}

/**
 * Adds the JSON texts of a schema to a network, before `next`.
 *
 * @throws HadalError `schema-invalid`, `schema-unsupported` (naming the keyword), `grammar-too-large`, and what patterns throw.
 * @returns the first place
 * @example addSchema({ type: 'array', items: { type: 'integer' } }, builder.returning, parts);
 */
export function addSchema(schema: unknown, next: number, parts: SchemaParts): number {
  return new SchemaCompiler(schema, parts).compile(next);
}

class SchemaCompiler {
  readonly #root: unknown;
  readonly #parts: SchemaParts;
  readonly #builder: NetworkBuilder;
  readonly #texts: JsonTexts;
  /** Rules by what they are the rule of: the pointer of a `$ref`, or any value. */
  readonly #rules = new Map<string, number>();
  /** Rules that are asked for and not yet made: references may lead on for longer than calls may nest here. */
  readonly #pending: (() => void)[] = [];

  constructor(root: unknown, parts: SchemaParts) {
    this.#root = root;
    this.#parts = parts;
    this.#builder = parts.builder;
    this.#texts = parts.texts;
  }

  /** The whole schema, before `next`. */
  compile(next: number): number {
    const start = this.add({ schema: this.#root, at: '#' }, next, 0);
    this.#makePending();
    return start;
  }

  #makePending(): void {
    for (let make = this.#pending.pop(); make !== undefined; make = this.#pending.pop()) make();
  }

  /** A schema, before `next`. `depth` counts schemas around it. */
  add(located: Located, next: number, depth: number): number {
    if (depth > MOST_NESTING) throw unsupported(located.at, `schemas nested more than ${MOST_NESTING} deep`);
    if (onlyRef(located)) {
      const pointer = references(located).ref!;
      const target = this.#target(pointer, located.at);
      const rule = this.#rule(pointer, (end) => this.add(target, end, 0));
      return this.#builder.add({ kind: 'call', rule, next });
    }
    return this.#addFacts(this.#facts(located, depth), next, depth);
  }

  /** What several schemas for one value say together, before `next`. */
  #addAll(all: readonly Located[], next: number, depth: number): number {
    const said = all.filter(({ schema }) => schema !== true);
    if (said.length === 0) return this.#anyValue(next);
    if (said.length === 1) return this.add(said[0]!, next, depth);
    return this.#addFacts(said.map((one) => this.#facts(one, depth)).reduce(both), next, depth);
  }

  #facts(located: Located, depth: number): Facts {
    if (depth > MOST_NESTING) {
      throw unsupported(located.at, `references or schemas nested more than ${MOST_NESTING} deep`);
    }
    this.#parts.budget.spend('places', 4);
    const { ref, allOf } = references(located);
    const others = ref === undefined ? [...allOf] : [this.#target(ref, located.at), ...allOf];
    return [factsOf(located), ...others.map((one) => this.#facts(one, depth + 1))].reduce(both);
  }

  #target(pointer: string, at: string): Located {
    if (pointer !== '#' && !pointer.startsWith('#/')) {
      throw unsupported(
        inside(at, '$ref'),
        `a reference to somewhere else: ${JSON.stringify(pointer.slice(0, 60))}`,
      );
    }
    let schema: unknown = this.#root;
    for (const part of pointer.split('/').slice(1)) {
      const key = decoded(part, at).replaceAll('~1', '/').replaceAll('~0', '~');
      const found = typeof schema === 'object' && schema !== null && Object.hasOwn(schema, key);
      if (!found) throw invalid(inside(at, '$ref'), 'a pointer to a part of this schema', pointer);
      schema = (schema as Readonly<Record<string, unknown>>)[key];
    }
    return { schema, at: pointer };
  }

  /** A rule that is made when it is first asked for; it may ask for itself. */
  #rule(name: string, make: (end: number) => number): number {
    let rule = this.#rules.get(name);
    if (rule === undefined) {
      const made = this.#builder.rule();
      rule = made;
      this.#rules.set(name, made);
      this.#pending.push(() => this.#builder.begin(made, make(this.#builder.returning)));
    }
    return rule;
  }

  /** Any JSON value. */
  #anyValue(next: number): number {
    const rule = this.#rule('any value', (end) => this.#addFacts(factsOf({ schema: {}, at: '#' }), end, 0));
    return this.#builder.add({ kind: 'call', rule, next });
  }

  #addFacts(facts: Facts, next: number, depth: number): number {
    this.#parts.budget.spend('places');
    const { alternatives } = facts;
    if (alternatives !== undefined) return this.#addAlternatives(facts, alternatives, next, depth);
    if (facts.values !== undefined) return this.#addValues(facts, facts.values, next, depth);
    return this.#builder.fork(typesIn(facts).map((type) => this.#addType(type, facts, next, depth)));
  }

  #addAlternatives(facts: Facts, { keyword, options }: Alternatives, next: number, depth: number): number {
    const base = withoutAlternatives(facts);
    if (keyword === 'oneOf') this.#checkApart(base, options, depth);
    return this.#builder.fork(
      options.map((option) =>
        saysNothing(base)
          ? this.add(option, next, depth + 1)
          : this.#addFacts(both(base, this.#facts(option, depth + 1)), next, depth + 1),
      ),
    );
  }

  /** `oneOf` is enforced where no value can fit two options: by their types, or by a property with a value of its own. */
  #checkApart(base: Facts, options: readonly Located[], depth: number): void {
    const all = options.map((option) => both(base, this.#facts(option, depth + 1)));
    for (const [i, one] of all.entries()) {
      for (const other of all.slice(i + 1)) {
        this.#parts.budget.spend('work', 16);
        if (this.#apart(one, other, depth)) continue;
        throw unsupported(
          other.at,
          `an option of oneOf that is not told apart from ${one.at} (anyOf may do)`,
        );
      }
    }
  }

  #apart(a: Facts, b: Facts, depth: number): boolean {
    if (a.alternatives !== undefined || b.alternatives !== undefined) return false;
    const shared = typesIn(a).filter((type) => {
      const others = typesIn(b);
      return (
        others.includes(type) ||
        (type === 'integer' && others.includes('number')) ||
        (type === 'number' && others.includes('integer'))
      );
    });
    if (shared.length === 0) return true;
    if (a.values !== undefined && b.values !== undefined) {
      return !a.values.some((one) => b.values!.some((other) => sameJson(one, other)));
    }
    if (shared.length > 1 || shared[0] !== 'object') return false;
    return [...a.object.properties].some(([name, inA]) => {
      const inB = b.object.properties.get(name);
      if (inB === undefined || !a.object.required.has(name) || !b.object.required.has(name)) return false;
      const of = (all: readonly Located[]) => all.map((one) => this.#facts(one, depth + 1)).reduce(both);
      return this.#apart(of(inA), of(inB), depth + 1);
    });
  }

  /** The values of `enum` and `const` that everything else allows. */
  #addValues(facts: Facts, values: readonly unknown[], next: number, depth: number): number {
    if (values.length > MOST_VALUES) throw unsupported(facts.at, `more than ${MOST_VALUES} values`);
    const { values: _, types = new Set(TYPES), ...others } = facts;
    const typed = values.filter((value) => typesOf(value).some((type) => types.has(type)));
    const isScalar = (value: unknown) => typeof value !== 'object' || value === null;
    const built = typed.filter((value) => !isScalar(value));
    if (built.length > 0 && others.about.size > 0) {
      throw unsupported(facts.at, 'objects or lists in enum or const together with keywords about them');
    }
    const fits = others.about.size === 0 ? () => true : this.#fitsText({ ...others, types }, depth);
    const scalars = typed
      .filter(isScalar)
      .filter(fits)
      .map((value) => JSON.stringify(value));
    return this.#builder.fork([
      ...(scalars.length === 0 ? [] : [this.#builder.text(this.#texts.oneOf(scalars), next)]),
      ...built.map((value) =>
        this.add({ schema: asSchema(value, facts.at, depth), at: facts.at }, next, depth + 1),
      ),
    ]);
  }

  /** A value fits where its text does. */
  #fitsText(facts: Facts, depth: number): (value: unknown) => boolean {
    const builder = new NetworkBuilder(this.#parts.budget);
    const compiler = new SchemaCompiler(this.#root, { ...this.#parts, builder });
    const start = compiler.#addFacts(facts, builder.returning, depth + 1);
    compiler.#makePending();
    const network = builder.finish(start);
    const utf8 = new TextEncoder();
    return (value) => {
      let threads = startThreads(network);
      const bytes = utf8.encode(JSON.stringify(value));
      this.#parts.budget.spend('work', bytes.length);
      for (const byte of bytes) threads = threads.byte(byte);
      return threads.whole;
    };
  }

  #addType(type: JsonType, facts: Facts, next: number, depth: number): number {
    const builder = this.#builder;
    switch (type) {
      case 'null':
        return builder.text(this.#texts.exactly('null'), next);
      case 'boolean':
        return builder.text(this.#texts.oneOf(['true', 'false']), next);
      case 'number':
      case 'integer':
        return builder.text(this.#texts.number(facts.number, type === 'integer'), next);
      case 'string':
        return this.#addString(facts, next);
      case 'array':
        return this.#addArray(facts, next, depth);
      case 'object':
        return this.#addObject(facts, next, depth);
    }
  }

  #addString({ string, at }: Facts, next: number): number {
    for (const format of string.formats) {
      if (!FORMATS.has(format)) throw unsupported(at, `the format ${JSON.stringify(format)}`);
    }
    if (string.patterns.length + string.formats.length > 0) {
      return this.#builder.text(this.#texts.stringOf(string), next);
    }
    const { min, max } = string;
    return this.#builder.add({ kind: 'text', automaton: this.#texts.string(), span: { min, max }, next });
  }

  #addArray({ array }: Facts, next: number, depth: number): number {
    const builder = this.#builder;
    const texts = this.#texts;
    const { min, max } = array;
    const item = (schema: readonly Located[], to: number) => this.#addAll(schema, to, depth + 1);
    const others = array.items ?? [];
    const prefix = array.prefix.slice(0, max === Number.POSITIVE_INFINITY ? undefined : max);
    const close = builder.text(texts.closing(']'), next);
    const comma = (to: number) => builder.text(texts.comma(), to);
    const empty = min === 0 ? [builder.text(texts.exactly('[]'), next)] : [];
    const one = (to: number) => item(others, to);
    const another = (to: number) => comma(item(others, to));
    if (max === 0) return builder.fork(empty);
    if (prefix.length === 0) {
      const items = builder.repeated(one, another, { min: Math.max(1, min), max }, close);
      return builder.fork([...empty, builder.text(texts.opening('['), items)]);
    }
    const left = { min: Math.max(0, min - prefix.length), max: max - prefix.length };
    let after = builder.repeated(another, another, left, close);
    for (let i = prefix.length - 1; i > 0; i--) {
      const more = comma(item([prefix[i]!], after));
      after = i >= min ? builder.fork([close, more]) : more;
    }
    return builder.fork([...empty, builder.text(texts.opening('['), item([prefix[0]!], after))]);
  }

  /** Properties in the order of the schema, then those that only `required` names, then additional ones. */
  #addObject({ object, at }: Facts, next: number, depth: number): number {
    const builder = this.#builder;
    const texts = this.#texts;
    const { required } = object;
    // A schema that names properties means those, unless it says otherwise.
    const additional = object.additional ?? (object.properties.size > 0 ? undefined : []);
    const properties = new Map(object.properties);
    for (const name of required) {
      if (properties.has(name)) continue;
      if (additional === undefined) throw invalid(inside(at, 'required'), 'names of properties', name);
      properties.set(name, additional);
    }
    const names = [...properties.keys()];
    const close = builder.text(texts.closing('}'), next);
    let keys: number | undefined;
    let more = close;
    let needed = false;
    if (additional !== undefined && !isFalse(additional)) {
      const after = builder.openFork();
      const key = builder.text(texts.keyOtherThan(names), this.#addAll(additional, after.place, depth + 1));
      after.add(builder.text(texts.comma(), key));
      after.add(close);
      keys = key;
      more = after.place;
    }
    for (const name of names.toReversed()) {
      const value = this.#addAll(properties.get(name)!, more, depth + 1);
      const key = builder.text(texts.key(name), value);
      keys = required.has(name) || keys === undefined ? key : builder.fork([key, keys]);
      needed ||= required.has(name);
      const comma = builder.text(texts.comma(), keys);
      more = needed ? comma : builder.fork([comma, close]);
    }
    return builder.fork([
      ...(required.size === 0 ? [builder.text(texts.exactly('{}'), next)] : []),
      ...(keys === undefined ? [] : [builder.text(texts.opening('{'), keys)]),
    ]);
  }
}

/** The types that a value may have: those given, else those that the keywords are about, else all. */
function typesIn({ types, about, values }: Facts): readonly JsonType[] {
  if (types !== undefined)
    return TYPES.filter((type) => types.has(type) && !(type === 'integer' && types.has('number')));
  if (values !== undefined) return [...new Set(values.flatMap((value) => typesOf(value).slice(0, 1)))];
  const all = TYPES.filter((type) => type !== 'integer');
  return about.size === 0 ? all : all.filter((type) => about.has(type as 'object'));
}

function isFalse(all: readonly Located[]): boolean {
  return all.some(({ schema }) => schema === false);
}

/** The schema of one object or list. */
function asSchema(value: unknown, at: string, depth: number): unknown {
  if (depth > MOST_NESTING) throw unsupported(at, `values nested more than ${MOST_NESTING} deep`);
  if (Array.isArray(value)) {
    const { length } = value;
    if (length === 0) return { type: 'array', maxItems: 0 };
    const prefixItems = value.map((one: unknown) => ({ const: one }));
    return { type: 'array', prefixItems, minItems: length, maxItems: length };
  }
  const entries = Object.entries(value as object);
  return {
    type: 'object',
    properties: Object.fromEntries(entries.map(([name, one]) => [name, { const: one as unknown }])),
    required: entries.map(([name]) => name),
    additionalProperties: false,
  };
}

function decoded(part: string, at: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw invalid(inside(at, '$ref'), 'a pointer', part);
  }
}
