/**
 * Owns: answers that are nothing but text: tokens to content deltas.
 * Refuses to know: thinking, tools, any family's tags.
 */
import { StreamDecoder } from '../../tokenizer/stream-decoder.ts';
import type { Delta } from '../delta.ts';
import type { AnswerParser, AnswerToken, ParserOptions } from '../format.ts';
import { StopMatcher } from '../stop.ts';
import { TokenLedger } from '../token-ledger.ts';

/**
 * A parser that gives the answer's text as it becomes certain: whole characters only, and no part of a stop string. A
 * delta carries all tokens since the one before, so ids and text stay in step even where text is held back.
 *
 * @param manner `spaceFirst`: the model writes a space before its answer, which belongs to the format
 * @throws HadalError `stop-empty`
 * @example
 * const parser = plainParser({ tokenizer, stop: ['\n'] });
 * for (const id of ids) for (const delta of parser.push({ id })) print(delta.text);
 */
export function plainParser(
  { tokenizer, choice = 0, stop = [], continues = false }: ParserOptions,
  { spaceFirst = false }: { readonly spaceFirst?: boolean } = {},
): AnswerParser {
  const decoder = new StreamDecoder(tokenizer);
  const matcher = new StopMatcher(stop);
  const ledger = new TokenLedger();
  let stopText: string | undefined;
  let atStart = spaceFirst && !continues;
  const said = (text: string): string => {
    if (!atStart || text === '') return text;
    atStart = false;
    return text.replace(/^ /, '');
  };

  const content = (text: string): Delta[] =>
    text === '' ? [] : [{ type: 'content', choice, text, tokens: ledger.take() }];

  return {
    push(token: AnswerToken) {
      if (stopText !== undefined) return [];
      ledger.add(token);
      const step = matcher.push(said(decoder.pushChosen(token.id)));
      stopText = step.stop;
      return content(step.text);
    },
    end() {
      if (stopText !== undefined) return [];
      const step = matcher.push(said(decoder.end()));
      stopText = step.stop;
      const last = content(stopText === undefined ? step.text + matcher.end() : step.text);
      if (last.length > 0) return last;
      // Tokens without a text still have their log-probabilities.
      const tokens = ledger.take();
      return tokens.logprobs === undefined ? [] : [{ type: 'content', choice, text: '', tokens }];
    },
    get stopText() {
      return stopText;
    },
  };
}
