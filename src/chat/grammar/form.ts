/**
 * Owns: everything an answer can be held to, as data that can cross a message channel, and short names to write it with.
 * Refuses to know: how it is enforced; the tags of any family.
 */
import type { ConstraintSpec } from '../constraint.ts';

/** A form of text. Tool calls are put together of these. */
export type GrammarForm =
  | ConstraintSpec
  /** Exactly this text. */
  | { readonly kind: 'text'; readonly text: string }
  /** A token by its id, where it is no text: a special token. */
  | { readonly kind: 'token'; readonly id: number }
  /** Any text up to the first `end`, which belongs to it. */
  | { readonly kind: 'until'; readonly end: string }
  | { readonly kind: 'sequence'; readonly parts: readonly GrammarForm[] }
  | { readonly kind: 'choice'; readonly options: readonly GrammarForm[] }
  /** From `min` to `max` times; without an end where `max` is absent. The part must not be empty. */
  | {
      readonly kind: 'repeat';
      readonly part: GrammarForm;
      readonly separator?: GrammarForm;
      readonly min: number;
      readonly max?: number;
    };

/** What the engine is given with a request. */
export interface AnswerGrammar {
  readonly form: GrammarForm;
  /** The text that ends thinking, where the answer begins with that: everything before it, and it, is free. */
  readonly after?: string;
  /** The beginning of the text where it is given: a prefix that the answer continues. */
  readonly begun?: string;
  /** Tokens with a meaning of their own, by id: they stand where the form asks for them, and are no text. */
  readonly marks?: readonly number[];
}

/**
 * What holds the content of an answer to a constraint.
 *
 * @example contentGrammar({ kind: 'json' }, { after: '</think>' })
 */
export function contentGrammar(
  constraint: ConstraintSpec,
  answer: {
    readonly after?: string | undefined;
    readonly begun?: string | undefined;
    readonly marks?: readonly number[];
  },
): AnswerGrammar {
  const { after, begun, marks } = answer;
  // Models that think put empty lines between their thoughts and JSON, where they mean nothing.
  const blanks: GrammarForm = { kind: 'regex', pattern: '\\n{0,2}' };
  const form = after === undefined || constraint.kind === 'regex' ? constraint : inOrder(blanks, constraint);
  return {
    form,
    ...(after === undefined ? {} : { after }),
    ...(begun === undefined || begun === '' ? {} : { begun }),
    ...(marks === undefined ? {} : { marks }),
  };
}

/** Exactly this text. */
export const text = (exact: string): GrammarForm => ({ kind: 'text', text: exact });
/** A special token. */
export const token = (id: number): GrammarForm => ({ kind: 'token', id });
/** Any text up to the first `end`, with it. */
export const until = (end: string): GrammarForm => ({ kind: 'until', end });
/** One after the other. */
export const inOrder = (...parts: readonly GrammarForm[]): GrammarForm => ({ kind: 'sequence', parts });
/** One of several. */
export const either = (...options: readonly GrammarForm[]): GrammarForm => ({ kind: 'choice', options });
/** JSON of a schema: the arguments of a tool. */
export const json = (schema: unknown): GrammarForm => ({ kind: 'json-schema', schema });
/**
 * Several times.
 *
 * @example times(inOrder(token(begin), text(name), json(schema), token(end)), { min: 1, separator: text('\n') })
 */
export const times = (
  part: GrammarForm,
  counts: { readonly min: number; readonly max?: number; readonly separator?: GrammarForm },
): GrammarForm => ({ kind: 'repeat', part, ...counts });
