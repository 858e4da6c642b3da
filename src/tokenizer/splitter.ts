/**
 * Owns: running a pre-tokenizer's rules over text, in time linear in its length.
 * Refuses to know: which rules exist under which name, tokens.
 */
import { CharClass, CharClasses } from './char-classes.ts';
import type { PreTokenizer, Rule, Step } from './pre-tokenizers.ts';
import { finished, type Steps } from './tokenizer.ts';

const { SPACE, NEWLINE } = CharClass;
const APOSTROPHE = 0x27;
/** UTF-16 units of one step: some milliseconds. */
const STEP_UNITS = 1 << 15;

/** How far a long piece is cut. */
interface Progress {
  at: number;
  /** Start of what no rule has matched so far. */
  gap: number;
  /** Start of the whitespace that ends the piece, once known. */
  spaceAtEnd: number;
}

/** Cuts well-formed text into pieces. Belongs to one tokenizer. */
export class Splitter {
  readonly #classes = new CharClasses();
  readonly #steps: readonly Step[];

  constructor(preTokenizer: Pick<PreTokenizer, 'steps'>) {
    this.#steps = preTokenizer.steps;
  }

  /**
   * Ends (exclusive, in UTF-16 units) of the pieces of `text[from, to)`, in order; the pieces cover it.
   *
   * @example new Splitter(PRE_TOKENIZERS.get('gpt-2')!).split("it's me", 0, 7) // [2, 4, 7]
   */
  split(text: string, from: number, to: number): number[] {
    return finished(this.splitInSteps(text, from, to));
  }

  /** As {@link Splitter.split}, in steps of some milliseconds. */
  *splitInSteps(text: string, from: number, to: number): Steps<number[]> {
    const progress: Progress = { at: from, gap: from, spaceAtEnd: -1 };
    let ends = from < to ? [to] : [];
    for (const step of this.#steps) {
      const finer: number[] = [];
      let start = from;
      let rested = from;
      for (const end of ends) {
        progress.at = start;
        progress.gap = start;
        progress.spaceAtEnd = -1;
        for (;;) {
          this.#splitPiece(text, start, end, step, progress, finer);
          if (progress.at - rested >= STEP_UNITS) {
            rested = progress.at;
            yield;
          }
          if (progress.at >= end) break;
        }
        start = end;
      }
      ends = finer;
    }
    return ends;
  }

  /** Cuts a piece, or goes on with it, as far as one step goes. */
  #splitPiece(text: string, from: number, to: number, step: Step, progress: Progress, ends: number[]): void {
    let { at, gap, spaceAtEnd } = progress;
    const until = Math.min(to, at + STEP_UNITS);
    while (at < until) {
      let end = at;
      for (const rule of step) {
        if (rule.kind === 'space-at-end') {
          if (spaceAtEnd < 0) spaceAtEnd = this.#startOfFinalSpace(text, from, to);
          if (at >= spaceAtEnd) end = to;
        } else {
          end = this.#match(text, at, to, rule);
        }
        if (end > at) break;
      }
      if (end === at) {
        at += this.#width(text, at, to);
        continue;
      }
      if (gap < at) ends.push(at);
      ends.push(end);
      at = end;
      gap = end;
    }
    if (at >= to && gap < to) ends.push(to);
    progress.at = at;
    progress.gap = gap;
    progress.spaceAtEnd = spaceAtEnd;
  }

  /** End of the rule's match at `at`, or `at` when it does not match. */
  #match(text: string, at: number, to: number, rule: Exclude<Rule, { kind: 'space-at-end' }>): number {
    switch (rule.kind) {
      case 'run': {
        if (rule.lead !== undefined && this.#classAt(text, at, to) & rule.lead) {
          const rest = at + this.#width(text, at, to);
          const end = this.#run(text, rest, to, rule.many, rule.most);
          if (end > rest) return rule.tail ? this.#run(text, end, to, rule.tail) : end;
        }
        let start = at;
        if (rule.head !== undefined) {
          if (!(this.#classAt(text, at, to) & rule.head)) return at;
          start += this.#width(text, at, to);
        }
        const end = this.#run(text, start, to, rule.many, rule.most);
        if (end === start) return at;
        return rule.tail ? this.#run(text, end, to, rule.tail) : end;
      }
      case 'contraction':
        return contraction(text, at, to, rule.anyCase);
      case 'space-to-newline': {
        let end = this.#run(text, at, to, SPACE);
        while (end > at && !(this.#classes.of(text.charCodeAt(end - 1)) & NEWLINE)) end--;
        return end;
      }
      case 'space-but-last': {
        const end = this.#run(text, at, to, SPACE);
        return end === to || end === at ? end : end - 1; // every White_Space character is one UTF-16 unit
      }
    }
  }

  /** End of the longest run of a class from `at`, of `most` code points. */
  #run(text: string, at: number, to: number, mask: number, most = Number.POSITIVE_INFINITY): number {
    let end = at;
    for (let count = 0; count < most && this.#classAt(text, end, to) & mask; count++) {
      end += this.#width(text, end, to);
    }
    return end;
  }

  /** Class bits of the code point at `at`; 0 at the end. */
  #classAt(text: string, at: number, to: number): number {
    if (at >= to) return 0;
    const unit = text.charCodeAt(at);
    return this.#classes.of((unit & 0xfc00) === 0xd800 ? (text.codePointAt(at) as number) : unit);
  }

  /** UTF-16 units of the code point at `at`. */
  #width(text: string, at: number, to: number): number {
    return (text.charCodeAt(at) & 0xfc00) === 0xd800 && at + 1 < to ? 2 : 1;
  }

  #startOfFinalSpace(text: string, from: number, to: number): number {
    let start = to;
    while (start > from && this.#classes.of(text.charCodeAt(start - 1)) & SPACE) start--;
    return start;
  }
}

/** End of one of `'s 't 're 've 'm 'll 'd` at `at`, or `at`. */
function contraction(text: string, at: number, to: number, anyCase: boolean): number {
  if (text.charCodeAt(at) !== APOSTROPHE) return at;
  const after = text.slice(at + 1, Math.min(at + 3, to));
  const letters = anyCase ? after.toLowerCase() : after;
  if (/^(?:re|ve|ll)/.test(letters)) return at + 3;
  return /^[stmd]/.test(letters) ? at + 2 : at;
}
