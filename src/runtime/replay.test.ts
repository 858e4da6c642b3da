/** Owns: which answers come back as they were sampled, and which do not. */
import { expect, test } from 'vitest';
import { toyMetadata } from '../../test/fixtures/toy-model.ts';
import type { Delta, Message } from '../chat/delta.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import { createReplayBook } from './replay.ts';

const tokenizer = tokenizerFromGguf(toyMetadata({ name: 'toy' }));
const THINKING_END = tokenizer.tokenText(7);
const ids = [3, 4, 7, 5, 6, 5];
const usage = { promptTokens: 1, cachedTokens: 0, generatedTokens: 1, prefillMs: 1, decodeMs: 1, seed: 1 };
const ARGUMENTS = '{"b": 1.0, "a": [2]}';

/** A book that saw one answer with a call, thought about or not. */
function bookWith(thought: boolean, begun = false) {
  const book = createReplayBook(tokenizer);
  const { turn } = book.begin({
    messages: [{ role: 'user', content: 'Hi' }],
    tools: [],
    salt: 'ada',
    promptIds: Int32Array.of(1, 2),
    thinkingEnd: thought ? THINKING_END : undefined,
    begun,
  });
  const parser = turn.follow({ push: () => [], end: () => [], stopText: undefined });
  for (const id of ids) parser.push({ id });
  const tokens = { ids: [] };
  const deltas: Delta[] = [
    ...(thought ? [{ type: 'reasoning', choice: 0, text: 'Hm.', tokens } as const] : []),
    { type: 'content', choice: 0, text: 'I look. ', tokens },
    { type: 'tool-call', choice: 0, index: 0, name: 'look', arguments: ARGUMENTS, tokens },
    { type: 'end', choice: 0, reason: 'tool-calls', usage },
  ];
  const [call] = deltas.map((delta) => turn.delta(delta)).filter(({ type }) => type === 'tool-call');
  const { id } = call as { id: string };
  const message = (more: Partial<Message> = {}): Message => ({
    role: 'assistant',
    content: 'I look.',
    toolCalls: [{ id, name: 'look', arguments: '{"a":[2],"b":1.0}' }],
    ...more,
  });
  return { message, restore: (one: Message, salt = 'ada') => book.restore([one], salt)[0]! };
}

test('an answer that comes back rendered anew is what was sampled', () => {
  const { message, restore } = bookWith(true);
  const restored = restore(message());
  expect(restored).toMatchObject({
    content: 'I look. ',
    reasoning: 'Hm.',
    toolCalls: [{ arguments: ARGUMENTS }],
  });
  expect(restored.sampled).toMatchObject({ reasoning: { ids: [3, 4] }, answer: { ids: [5, 6, 5] } });
  expect(restore(message({ reasoning: ' Hm.\n' })).sampled).toBeDefined();
});

test('an answer without thinking comes back without', () => {
  const { message, restore } = bookWith(false);
  const restored = restore(message({ reasoning: '' }));
  expect(restored).not.toHaveProperty('reasoning');
  expect(restored.sampled).toMatchObject({ answer: { ids } });
});

test.each<[string, Partial<Message>]>([
  ['text', { content: 'I saw.' }],
  ['thinking', { reasoning: 'Aha.' }],
  ['arguments', { toolCalls: [{ id: '', name: 'look', arguments: '{"a":[2],"b":1}' }] }],
  ['a name', { toolCalls: [{ id: '', name: 'see', arguments: ARGUMENTS }] }],
  ['a call less', { toolCalls: [] }],
])('one that was changed in %s is what the client says', (_, change) => {
  const { message, restore } = bookWith(true);
  const { toolCalls = [] } = message();
  const changed = message({
    ...change,
    ...(change.toolCalls && {
      toolCalls: change.toolCalls.map((call) => ({ ...call, id: toolCalls[0]!.id })),
    }),
  });
  expect(restore(changed)).toEqual(changed);
});

test('nobody else gets it, nor is one kept that the prompt began', () => {
  const { message, restore } = bookWith(true);
  expect(restore(message(), 'bob')).toEqual(message());
  const begun = bookWith(true, true);
  expect(begun.restore(begun.message())).toEqual(begun.message());
});
