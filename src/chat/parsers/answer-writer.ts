/**
 * Owns: turning what a parser understands into deltas: newlines around tags, stop strings, the tokens behind a text.
 * Refuses to know: tags, tokens' meaning, any format.
 */
import type { Delta } from '../delta.ts';
import type { AnswerToken } from '../format.ts';
import { StopMatcher } from '../stop.ts';
import { TokenLedger } from '../token-ledger.ts';

/** Options of {@link AnswerWriter}. */
export interface AnswerWriterOptions {
  readonly choice: number;
  readonly stop: readonly string[];
  /** Keep newlines at the start, which are the answer's own. */
  readonly continues: boolean;
  /** Spells out marks that were not understood. */
  readonly spelled: (text: string) => string;
}

/** Collects deltas. Newlines next to a tag belong to the tag: at the start of a text, and at its end before a tag. */
export class AnswerWriter {
  readonly #options: AnswerWriterOptions;
  readonly #stops: StopMatcher;
  readonly #ledger = new TokenLedger();
  #deltas: Delta[] = [];
  /** Newlines that stand at the end of what was said, until it is known what follows. */
  #newlines = '';
  #atStart: boolean;
  #call = -1;
  stopText: string | undefined;

  constructor(options: AnswerWriterOptions) {
    this.#options = options;
    this.#stops = new StopMatcher(options.stop);
    this.#atStart = !options.continues;
  }

  add(token: AnswerToken): void {
    this.#ledger.add(token);
  }

  /** Deltas since the last call. */
  drain(): readonly Delta[] {
    const deltas = this.#deltas;
    this.#deltas = [];
    return deltas;
  }

  reasoning(text: string): void {
    const { choice } = this.#options;
    const said = this.#trimmed(text);
    if (said !== '')
      this.#deltas.push({ type: 'reasoning', choice, text: said, tokens: this.#ledger.take() });
  }

  content(text: string): void {
    this.#stopped(this.#trimmed(text));
  }

  /** A tag was read: newlines before it and its tokens are nobody's text, and newlines after it are its own. */
  tag(): void {
    this.#newlines = '';
    this.#atStart = true;
    this.#ledger.take();
  }

  /** Something was left out inside a text, which goes on as if it had not been there. */
  skip(): void {
    this.#ledger.take();
  }

  call(name: string): void {
    this.#call++;
    this.#callDelta({ name, arguments: '' });
  }

  arguments(text: string): void {
    const spelled = this.#options.spelled(text);
    if (spelled !== '') this.#callDelta({ arguments: spelled });
  }

  /** The answer is over: held newlines are said after all. */
  end(channel: 'reasoning' | 'content' | 'calls'): void {
    const { choice } = this.#options;
    const newlines = this.#newlines;
    this.#newlines = '';
    if (channel === 'reasoning' && newlines !== '') {
      this.#deltas.push({ type: 'reasoning', choice, text: newlines, tokens: this.#ledger.take() });
    }
    if (channel !== 'content') return;
    this.#stopped(newlines);
    if (this.stopText === undefined) this.#contentDelta(this.#stops.end());
  }

  /** Before calls: what a stop string could still have begun with is content. */
  endContent(): void {
    if (this.stopText === undefined) this.#contentDelta(this.#stops.end());
  }

  #stopped(text: string): void {
    if (text === '' || this.stopText !== undefined) return;
    const step = this.#stops.push(text);
    this.#contentDelta(step.text);
    this.stopText = step.stop;
  }

  #contentDelta(text: string): void {
    const { choice } = this.#options;
    if (text !== '') this.#deltas.push({ type: 'content', choice, text, tokens: this.#ledger.take() });
  }

  #callDelta(part: { readonly name?: string; readonly arguments: string }): void {
    const { choice } = this.#options;
    this.#deltas.push({ type: 'tool-call', choice, index: this.#call, ...part, tokens: this.#ledger.take() });
  }

  #trimmed(text: string): string {
    const spelled = this.#options.spelled(text);
    const said = this.#atStart ? spelled.replace(/^\n+/, '') : spelled;
    if (said === '') {
      this.#ledger.take();
      return '';
    }
    this.#atStart = false;
    const body = said.replace(/\n+$/, '');
    const newlines = said.slice(body.length);
    if (body === '') {
      this.#newlines += newlines;
      return '';
    }
    const whole = this.#newlines + body;
    this.#newlines = newlines;
    return whole;
  }
}
