/**
 * Owns: making a network of any form.
 * Refuses to know: schemas' keywords, tokens, running it.
 */

import { HadalError } from '../../error.ts';
import { type Automaton, accepts, automatonOf, difference } from './automaton.ts';
import { Budget } from './budget.ts';
import { ANY_CHAR } from './char-set.ts';
import type { GrammarForm } from './form.ts';
import { JsonTexts } from './json-texts.ts';
import { type Network, NetworkBuilder } from './network.ts';
import { parseRegex } from './regex.ts';
import { ANY_TEXT, literal, oneOf, repeat, sequence } from './regular.ts';
import { addSchema } from './schema.ts';

/** What `{ kind: 'json' }` asks for. */
const ANY_OBJECT = { type: 'object' } as const;

/**
 * The network of a form. Time and memory are bounded: what takes more is refused.
 *
 * @throws HadalError `schema-invalid`, `schema-unsupported`, `regex-invalid`, `regex-unsupported`,
 *   `grammar-too-large`, `grammar-unsatisfiable`
 * @example const network = compileGrammar({ kind: 'regex', pattern: '[a-z]+' });
 */
export function compileGrammar(form: GrammarForm): Network {
  const budget = new Budget();
  const builder = new NetworkBuilder(budget);
  const compiler = new FormCompiler(builder, budget);
  return builder.finish(compiler.add(form, builder.returning));
}

class FormCompiler {
  readonly #builder: NetworkBuilder;
  readonly #budget: Budget;
  readonly #texts: JsonTexts;

  constructor(builder: NetworkBuilder, budget: Budget) {
    this.#builder = builder;
    this.#budget = budget;
    this.#texts = new JsonTexts(budget);
  }

  add(form: GrammarForm, next: number): number {
    const builder = this.#builder;
    switch (form.kind) {
      case 'json':
      case 'json-schema': {
        const schema = form.kind === 'json' ? ANY_OBJECT : form.schema;
        return addSchema(schema, next, { builder, texts: this.#texts, budget: this.#budget });
      }
      case 'regex':
        return builder.text(this.#regex(form.pattern), next);
      case 'text':
        return form.text === '' ? next : builder.text(this.#texts.exactly(form.text), next);
      case 'until':
        return builder.text(this.#until(form.end), next);
      case 'token':
        return builder.add({ kind: 'token', id: form.id, next });
      case 'sequence':
        return form.parts.reduceRight((after, part) => this.add(part, after), next);
      case 'choice':
        return builder.fork(form.options.map((option) => this.add(option, next)));
      case 'repeat': {
        const { part, separator, min, max = Number.POSITIVE_INFINITY } = form;
        if (this.#canBeEmpty(part)) throw emptyPart();
        const one = (to: number) => this.add(part, to);
        const again = separator === undefined ? one : (to: number) => this.add(separator, one(to));
        return builder.repeated(one, again, { min, max }, next);
      }
    }
  }

  #canBeEmpty(form: GrammarForm): boolean {
    switch (form.kind) {
      case 'json':
      case 'json-schema':
      case 'token':
      case 'until':
        return false;
      case 'text':
        return form.text === '';
      case 'regex':
        return accepts(this.#regex(form.pattern), new Uint8Array());
      case 'sequence':
        return form.parts.every((part) => this.#canBeEmpty(part));
      case 'choice':
        return form.options.some((option) => this.#canBeEmpty(option));
      case 'repeat':
        return form.min === 0;
    }
  }

  #regex(pattern: string): Automaton {
    return automatonOf(parseRegex(pattern, 'whole'), this.#budget);
  }

  /** Texts that end with `end` and hold it nowhere before. */
  #until(end: string): Automaton {
    const ends = automatonOf(sequence(ANY_TEXT, literal(end)), this.#budget);
    const before = automatonOf(sequence(ANY_TEXT, literal(end), repeat(oneOf(ANY_CHAR), 1)), this.#budget);
    return difference(ends, before, this.#budget);
  }
}

function emptyPart(): HadalError {
  return new HadalError('grammar-invalid', {
    what: 'a repeated part of a grammar',
    expected: 'one that is never empty',
    got: 'one that can be',
    next: 'repeat it from zero instead',
  });
}
