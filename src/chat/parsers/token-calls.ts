/**
 * Owns: reading the calls of V3, R1 and V3.1, which are set apart by control tokens.
 * Refuses to know: thinking and content before them, prompts.
 */
import { CALL, CALL_END, CALL_SEP, CALLS, CALLS_END } from '../deepseek-tokens.ts';
import type { Routine } from './source.ts';
import { type Reading, taggedParser } from './tagged.ts';

/** `fenced`: V3 and R1, `function<sep>NAME\n```json\nARGUMENTS\n```; `bare`: V3.1, `NAME<sep>ARGUMENTS`. */
export type TokenCallForm = 'fenced' | 'bare';

/**
 * The parser of V3, R1 (`fenced`) and V3.1 (`bare`).
 *
 * @example const parser = tokenCallParser('bare', { thinks: true })({ tokenizer, tools });
 */
export function tokenCallParser(
  form: TokenCallForm,
  manner: { readonly thinks: boolean },
): ReturnType<typeof taggedParser> {
  const read = (reading: Reading) => readCalls(reading, form);
  return taggedParser({ marks: [CALLS, CALLS_END, CALL, CALL_END, CALL_SEP], begin: CALLS, read }, manner);
}

function* readCalls(reading: Reading, form: TokenCallForm): Routine {
  const { source, writer, marked } = reading;
  const [begin = '', end = '', separator = '', over = ''] = [CALL, CALL_END, CALL_SEP, CALLS_END].map(
    (mark) => marked.pattern(mark),
  );
  const ends = [end, begin, over];
  const ignore = () => undefined;
  let next = yield* source.until([begin, over], ignore);
  while (next === begin) {
    let head = '';
    const stop = yield* source.until([separator, ...ends], (text) => {
      head += text;
    });
    if (stop !== separator) {
      // No call can be made of it, and it is shown rather than lost.
      writer.content(head);
      next = stop;
    } else if (form === 'bare') {
      writer.call(head.trim());
      next = yield* source.until(ends, (text) => writer.arguments(text));
    } else {
      next = yield* readFenced(reading, ends);
    }
    if (next === end) next = yield* source.until([begin, over], ignore);
  }
  yield* source.until([], ignore);
}

function* readFenced({ source, writer }: Reading, ends: readonly string[]): Routine<string | undefined> {
  let name = '';
  const stop = yield* source.until(['\n', ...ends], (text) => {
    name += text;
  });
  writer.call(name.trim());
  if (stop !== '\n') return stop;
  yield* source.take(['```json\n', '```\n']);
  const fence = yield* source.until(['\n```', ...ends], (text) => writer.arguments(text));
  if (fence !== '\n```') return fence;
  return yield* source.until(ends, () => undefined);
}
