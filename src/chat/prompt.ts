/**
 * Owns: a rendered prompt as parts, and how the parts become text and ids.
 * Refuses to know: messages, families of models, the engine.
 */
import { HadalError } from '../error.ts';
import { finished, type Steps, type Tokenizer } from '../tokenizer/tokenizer.ts';

/**
 * A stretch of a prompt. A `control` is the exact text of one special token; `text` is ordinary text, in which nothing
 * is ever taken for a special token, so a message cannot pretend to be another role; `template` is what a template of
 * the model's own wrote, in which special tokens are recognised; `sampled` is what the model wrote, by its own ids.
 */
export type PromptPart =
  | { readonly kind: 'control' | 'text' | 'template'; readonly text: string }
  | { readonly kind: 'sampled'; readonly text: string; readonly ids: readonly number[] };

/**
 * A prompt as one text, as a template would write it.
 *
 * @example renderPrompt(format.render([{ role: 'user', content: 'Hi' }]).parts);
 */
export function renderPrompt(parts: readonly PromptPart[]): string {
  return parts.map(({ text }) => text).join('');
}

/**
 * The ids of a prompt. Control parts become one id each; text parts never do. Equal to encoding the rendered text with
 * special tokens recognised, unless a message holds the text of one.
 *
 * @param parts as {@link ChatFormat.render} gives them
 * @param marks tokens that vocabularies have as ordinary ones and a format gives a meaning to, such as `<think>`: text
 *   that spells one is encoded around it
 * @returns ids, with the beginning-of-sequence id first where the model wants one
 * @throws HadalError `token-missing` when the vocabulary lacks a control token.
 * @example const ids = encodePrompt(tokenizer, format.render(messages).parts);
 */
export function encodePrompt(
  tokenizer: Tokenizer,
  parts: readonly PromptPart[],
  marks: readonly string[] = [],
): Int32Array {
  return finished(encodePromptInSteps(tokenizer, parts, marks));
}

/** As {@link encodePrompt}, in steps of some milliseconds. Example: `finished(encodePromptInSteps(tokenizer, parts))` */
export function* encodePromptInSteps(
  tokenizer: Tokenizer,
  parts: readonly PromptPart[],
  marks: readonly string[] = [],
): Steps<Int32Array> {
  const ids: number[] = [];
  if (tokenizer.addsBos && tokenizer.bosId !== undefined) {
    const [first] = parts;
    const bos = tokenizer.tokenText(tokenizer.bosId);
    const written =
      first?.kind === 'template'
        ? first.text.startsWith(bos)
        : first?.kind === 'control' && first.text === bos;
    if (!written) ids.push(tokenizer.bosId);
  }
  for (const part of joinText(parts)) {
    if (part.kind === 'sampled') for (const id of part.ids) ids.push(id);
    else if (part.kind === 'control') ids.push(controlId(tokenizer, part.text));
    else if (part.kind === 'template') {
      for (const id of yield* tokenizer.encodeInSteps(part.text, { special: true })) ids.push(id);
    } else {
      for (const piece of aroundMarks(part.text, marks))
        for (const id of yield* tokenizer.encodeInSteps(piece)) ids.push(id);
    }
    // Of a thousand short messages each is less than a step.
    yield;
  }
  return Int32Array.from(ids);
}

/**
 * The id of a control token.
 *
 * @throws HadalError `token-missing` when the vocabulary lacks it.
 * @example controlId(tokenizer, '<|im_end|>');
 */
export function controlId(tokenizer: Tokenizer, text: string): number {
  const id = tokenizer.idOf(text);
  if (id === undefined) {
    throw new HadalError('token-missing', {
      what: 'the chat format of this model',
      expected: `the token ${text} in the vocabulary`,
      got: `${tokenizer.vocabSize} tokens without it`,
      next: 'take another file of this model',
    });
  }
  return id;
}

/** Cuts a text inside every mark, so that no piece holds one. */
function aroundMarks(text: string, marks: readonly string[]): readonly string[] {
  let pieces = [text];
  for (const mark of marks) {
    pieces = pieces.flatMap((piece) => {
      const between = piece.split(mark);
      return between.map((part, index) => {
        const before = index > 0 ? mark.slice(1) : '';
        return before + part + (index < between.length - 1 ? mark.slice(0, 1) : '');
      });
    });
  }
  return pieces;
}

/** Neighbouring text parts as one, since a tokenizer may join characters across them. */
function joinText(parts: readonly PromptPart[]): PromptPart[] {
  const joined: PromptPart[] = [];
  for (const part of parts) {
    const last = joined.at(-1);
    if (last?.kind === 'text' && part.kind === 'text')
      joined[joined.length - 1] = { kind: 'text', text: last.text + part.text };
    else joined.push(part);
  }
  return joined.filter((part) => part.text !== '' || (part.kind === 'sampled' && part.ids.length > 0));
}
