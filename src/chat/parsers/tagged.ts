/**
 * Owns: reading an answer of thinking, content and calls, in that order: the frame that the formats with tags share.
 * Refuses to know: how any format writes its calls (token-calls.ts, dsml.ts).
 */
import { THINK, THINK_END } from '../deepseek-tokens.ts';
import type { AnswerParser, AnswerToken, ParserOptions } from '../format.ts';
import { AnswerWriter } from './answer-writer.ts';
import { MarkedText } from './marked-text.ts';
import { type Routine, Source } from './source.ts';

/** What a routine reads from and writes to. */
export interface Reading {
  readonly source: Source;
  readonly writer: AnswerWriter;
  readonly marked: MarkedText;
}

/** How a format writes calls. */
export interface CallSyntax {
  /** Tokens with a meaning, beside those of thinking. */
  readonly marks: readonly string[];
  /** What begins a call or a block of calls. */
  readonly begin: string;
  /** Reads what follows `begin`, to the end of the answer. */
  read(reading: Reading): Routine;
}

/**
 * A parser of answers that may think first and may call tools in the end. Without tools on offer, nothing is taken for
 * a call. What becomes of answers that are not well-formed is told in docs/guide/chat-formats.md, and follows the
 * parser of deepseek-recipe 0.2.0 where that has an opinion.
 *
 * @param syntax undefined for formats without calls
 * @param thinks whether `<think>` and `</think>` are tags in this format
 * @throws HadalError `stop-empty`
 * @example taggedParser(syntax, { thinks: true })({ tokenizer, opens: 'reasoning', tools });
 */
export function taggedParser(
  syntax: CallSyntax | undefined,
  { thinks }: { readonly thinks: boolean },
): (options: ParserOptions) => AnswerParser {
  return (options) => {
    const { tokenizer, choice = 0, stop = [], opens = 'content', opened = [], continues = false } = options;
    const calls = (options.tools?.length ?? 0) > 0 ? syntax : undefined;
    const marked = new MarkedText(tokenizer, [
      ...(thinks ? [THINK, THINK_END] : []),
      ...(calls?.marks ?? []),
    ]);
    const spelled = (text: string) => marked.spelled(text);
    const writer = new AnswerWriter({ choice, stop, continues, spelled });
    const source = new Source();
    source.feed(marked.patternOf(opened));
    const reading = { source, writer, marked };
    const routine = read(reading, calls, thinks ? opens === 'reasoning' : undefined);
    let running = true;
    const run = () => {
      if (running) running = routine.next().done !== true;
      return writer.drain();
    };
    return {
      push(token: AnswerToken) {
        if (writer.stopText !== undefined) return [];
        writer.add(token);
        source.feed(marked.push(token.id));
        return run();
      },
      end() {
        if (writer.stopText !== undefined) return [];
        source.feed(marked.end());
        source.end();
        return run();
      },
      get stopText() {
        return writer.stopText;
      },
    };
  };
}

/** @param thinking whether the prompt opened it; undefined where the format has none */
function* read(reading: Reading, calls: CallSyntax | undefined, thinking: boolean | undefined): Routine {
  const { source, writer, marked } = reading;
  const begin = calls === undefined ? [] : [marked.pattern(calls.begin)];
  const open = marked.pattern(THINK);
  const close = marked.pattern(THINK_END);
  const closes = thinking === undefined ? [] : [close];
  // A model that the prompt did not make think opens the thinking itself, or not; one that it did may do so again.
  const reopened = yield* source.take(
    thinking === undefined ? [] : ['', '\n', '\n\n'].map((newlines) => newlines + open),
  );
  if (reopened !== undefined) writer.tag();
  let stop: string | undefined;
  if (thinking || reopened !== undefined) {
    stop = yield* source.until([close, THINK_END, ...begin], (text) => writer.reasoning(text));
    if (stop === undefined) return writer.end('reasoning');
    writer.tag();
  }
  while (!begin.includes(stop ?? '')) {
    stop = yield* source.until([...closes, ...begin], (text) => writer.content(text));
    if (stop === undefined) return writer.end('content');
    // The end of a thinking that is over, or never was, says nothing.
    if (stop === close) writer.skip();
  }
  writer.endContent();
  if (writer.stopText !== undefined || calls === undefined) return;
  writer.tag();
  yield* calls.read(reading);
  writer.end('calls');
}
