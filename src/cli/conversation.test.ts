import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Conversation } from './conversation.ts';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-conversation-'));
});
afterAll(() => rm(folder, { recursive: true }));

function talk(): Conversation {
  const conversation = new Conversation('Be brief.');
  conversation.say('one');
  conversation.answer('1');
  conversation.say('two');
  conversation.answer('2');
  return conversation;
}

test('what was said is there in order, the system message first', () => {
  expect(talk().messages.map(({ role, content }) => `${role}: ${content}`)).toEqual([
    'system: Be brief.',
    'user: one',
    'assistant: 1',
    'user: two',
    'assistant: 2',
  ]);
  expect(new Conversation().messages).toEqual([]);
  expect(new Conversation('').messages).toEqual([{ role: 'system', content: '' }]);
});

test('the last question can be taken back with its answer', () => {
  const conversation = talk();
  expect(conversation.takeLastQuestion()).toBe('two');
  expect(conversation.messages.at(-1)).toEqual({ role: 'assistant', content: '1' });
  expect(conversation.takeLastQuestion()).toBe('one');
  expect(conversation.takeLastQuestion()).toBeUndefined();
  expect(conversation.messages).toHaveLength(1);
});

test('a saved conversation is loaded as it was, and never written over', async () => {
  const path = join(folder, 'talk.json');
  await talk().save(path);
  const loaded = new Conversation('another');
  await loaded.load(path);
  expect(loaded.messages).toEqual(talk().messages);
  expect(loaded.system).toBe('Be brief.');
  const before = await readFile(path, 'utf8');
  await expect(new Conversation().save(path)).rejects.toMatchObject({ code: 'file-exists' });
  expect(await readFile(path, 'utf8')).toBe(before);
  await expect(talk().save(join(folder, 'no', 'x.json'))).rejects.toMatchObject({ code: 'file-unwritable' });
});

test.each([
  ['no JSON', 'hello', 'no JSON'],
  ['no list', '{}', 'no list'],
  ['a null', '[null]', 'something else at 1'],
  ['an unknown role', '[{"role":"tool","content":"x"}]', 'something else at 1'],
  ['content that is no text', '[{"role":"user","content":1}]', 'something else at 1'],
  [
    'a late system message',
    '[{"role":"user","content":"x"},{"role":"system","content":"y"}]',
    'a second system message at 2',
  ],
])('a file with %s is refused, and the conversation stays', async (name, text, got) => {
  const path = join(folder, `${name}.json`);
  await writeFile(path, text);
  const conversation = talk();
  await expect(conversation.load(path)).rejects.toMatchObject({
    code: 'conversation-invalid',
    message: expect.stringContaining(`got ${got}`),
  });
  expect(conversation.messages).toEqual(talk().messages);
  await expect(conversation.load(join(folder, 'none.json'))).rejects.toMatchObject({
    code: 'file-unreadable',
  });
});
