/** Owns: branches of a conversation, and what of it is sent. */
import { expect, test } from 'vitest';
import {
  choosing,
  messagesOf,
  newConversation,
  shownPath,
  siblings,
  type Turn,
  userTurn,
  withTurn,
} from './conversation.ts';

const answer = (id: string, parent: string, more: Partial<Turn> = {}): Turn => ({
  id,
  parent,
  role: 'assistant',
  content: id,
  atMs: 0,
  end: 'stop',
  ...more,
});

test('a branch beside a turn is shown in its place, and the other one stays', () => {
  const asked = userTurn(undefined, 'first question\nwith a second line');
  let conversation = withTurn(newConversation(), asked);
  conversation = withTurn(conversation, answer('one', asked.id));
  const later = userTurn('one', 'later');
  conversation = withTurn(conversation, later);
  conversation = withTurn(conversation, answer('two', asked.id));
  expect(shownPath(conversation).map(({ content }) => content)).toEqual([asked.content, 'two']);
  const [one] = siblings(conversation, conversation.turns.at(-1)!);
  expect(shownPath(choosing(conversation, one!)).map(({ content }) => content)).toEqual([
    asked.content,
    'one',
    'later',
  ]);
  expect(conversation.title).toBe('first question');
});

test('answers go without their thinking, but with their calls; what failed before it began is left out', () => {
  const call = { id: 'c1', name: 'f', arguments: '{}' };
  const path = [
    userTurn(undefined, 'a'),
    answer('thought', 'a', { reasoning: 'hm' }),
    answer('', 'b', { end: 'failed', error: 'no' }),
    answer('calls', 'c', { reasoning: 'so', calls: [call] }),
    { ...userTurn('calls', 'result'), role: 'tool' as const, callId: 'c1' },
  ];
  expect(messagesOf(path, { system: 'Be brief.' })).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'a' },
    { role: 'assistant', content: 'thought' },
    {
      role: 'assistant',
      content: 'calls',
      reasoning_content: 'so',
      tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: '{}' } }],
    },
    { role: 'tool', content: 'result', tool_call_id: 'c1' },
  ]);
});

test('no fence in a file ends the block that it is sent in', () => {
  const [message] = messagesOf([userTurn(undefined, 'look', [{ name: 'a.md', text: '````\nx\n````' }])], {});
  expect(message).toEqual({ role: 'user', content: 'look\n\nFile a.md:\n`````\n````\nx\n````\n`````' });
});
