/**
 * Owns: writing a prompt part by part.
 * Refuses to know: any family's wording.
 */
import type { SampledText } from '../delta.ts';
import type { PromptPart } from '../prompt.ts';

/**
 * Collects the parts of a prompt.
 *
 * @example new PromptWriter().control('<｜User｜>').text('Hi').parts;
 */
export class PromptWriter {
  readonly #parts: PromptPart[] = [];

  get parts(): readonly PromptPart[] {
    return this.#parts;
  }

  control(token: string): this {
    this.#parts.push({ kind: 'control', text: token });
    return this;
  }

  text(text: string): this {
    if (text !== '') this.#parts.push({ kind: 'text', text });
    return this;
  }

  /** What the model itself wrote, by its own ids; `text` where they are not known. */
  sampled(sampled: SampledText | undefined, text: () => void): this {
    if (sampled === undefined) text();
    else this.#parts.push({ kind: 'sampled', ...sampled });
    return this;
  }

  /** Text of the format's own, in which every one of `tokens` is that token. */
  wording(text: string, tokens: readonly string[]): this {
    let rest = text;
    while (rest !== '') {
      const next = firstOf(rest, tokens);
      if (next === undefined) return this.text(rest);
      this.text(rest.slice(0, next.at)).control(next.token);
      rest = rest.slice(next.at + next.token.length);
    }
    return this;
  }

  add(parts: readonly PromptPart[]): this {
    this.#parts.push(...parts);
    return this;
  }
}

function firstOf(text: string, tokens: readonly string[]): { at: number; token: string } | undefined {
  let first: { at: number; token: string } | undefined;
  for (const token of tokens) {
    const at = text.indexOf(token);
    if (at >= 0 && (first === undefined || at < first.at)) first = { at, token };
  }
  return first;
}
