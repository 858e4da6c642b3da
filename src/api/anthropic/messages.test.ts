/** Owns: what Anthropic's requests ask for, and that an answer sent back is the turn that was made. */
import { expect, test } from 'vitest';
import type { Delta, Message } from '../../chat/delta.ts';
import type { ResponseContext } from '../request.ts';
import { parseCount, parseMessages } from './message-request.ts';
import { messageDocument, messageStream } from './message-response.ts';

const context: ResponseContext = {
  id: 'msg_1',
  model: 'm',
  createdSeconds: 0,
  bytesOf: () => new Uint8Array(),
};
const tokens = { ids: [1] };
const usage = { promptTokens: 10, cachedTokens: 4, generatedTokens: 7, prefillMs: 1, decodeMs: 1, seed: 1 };
const DELTAS: readonly Delta[] = [
  { type: 'progress', choice: 0, stage: 'load', done: 1, total: 2 },
  { type: 'progress', choice: 0, stage: 'prefill', done: 5, total: 10 },
  { type: 'progress', choice: 0, stage: 'prefill', done: 10, total: 10 },
  { type: 'reasoning', choice: 0, text: 'It may ', tokens },
  { type: 'reasoning', choice: 0, text: 'rain.', tokens },
  { type: 'content', choice: 0, text: 'I look.', tokens },
  { type: 'tool-call', choice: 0, index: 0, id: 'c1', name: 'weather', arguments: '{"city": ', tokens },
  { type: 'tool-call', choice: 0, index: 0, arguments: '"Köln"}', tokens },
  { type: 'tool-call', choice: 0, index: 1, id: 'c2', name: 'now', arguments: '{}', tokens },
  { type: 'end', choice: 0, reason: 'tool-calls', usage },
];

const ask = (fields: object) =>
  parseMessages({ model: 'm', max_tokens: 9, messages: [{ role: 'user', content: 'Hi' }], ...fields });

test('an answer that is sent back with its results is the turn that was made', () => {
  const { content } = messageDocument(DELTAS, context) as { content: object[] };
  const { messages } = ask({
    system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
    messages: [
      { role: 'user', content: 'Rain?' },
      { role: 'assistant', content },
      {
        role: 'user',
        content: [
          { type: 'tool_result', tool_use_id: 'c1', content: [{ type: 'text', text: 'wet' }] },
          { type: 'tool_result', tool_use_id: 'c2' },
          { type: 'text', text: 'Go on.' },
        ],
      },
    ],
  }).fields;
  expect(messages).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'Rain?' },
    {
      role: 'assistant',
      content: 'I look.',
      reasoning: 'It may rain.',
      toolCalls: [
        { id: 'c1', name: 'weather', arguments: '{"city":"Köln"}' },
        { id: 'c2', name: 'now', arguments: '{}' },
      ],
    },
    { role: 'tool', toolCallId: 'c1', content: 'wet' },
    { role: 'tool', toolCallId: 'c2', content: '' },
    { role: 'user', content: 'Go on.' },
  ] satisfies Message[]);
});

test('events put together are the document', () => {
  const encoder = messageStream(context);
  const events = [...DELTAS.flatMap((delta) => [...encoder.push(delta)]), ...encoder.end()];
  expect(events.map(({ event }) => event).filter((name) => name !== 'content_block_delta')).toEqual([
    'message_start',
    'ping',
    ...Array.from({ length: 4 }, () => ['content_block_start', 'content_block_stop']).flat(),
    'message_delta',
    'message_stop',
  ]);
  for (const { event, data } of events) expect(JSON.parse(data)).toMatchObject({ type: event });
  expect(JSON.parse(events[0]!.data)).toMatchObject({
    message: { id: 'msg_1', usage: { input_tokens: 10 } },
  });
  expect(JSON.parse(events.at(-2)!.data)).toEqual({
    type: 'message_delta',
    delta: { stop_reason: 'tool_use', stop_sequence: null },
    usage: {
      input_tokens: 6,
      cache_creation_input_tokens: 0,
      cache_read_input_tokens: 4,
      output_tokens: 7,
    },
  });
});

test('arguments that are no object are handed over as they are', () => {
  const broken = DELTAS.filter((delta) => !(delta.type === 'tool-call' && delta.arguments === '"Köln"}'));
  expect(messageDocument(broken, context)).toMatchObject({
    content: [{}, {}, { type: 'tool_use', input: { arguments: '{"city": ' } }, {}],
  });
});

test('settings, thinking and tools in neutral terms', () => {
  const { fields, withoutEffect } = ask({
    temperature: 0.5,
    top_k: 3,
    stop_sequences: ['END'],
    thinking: { type: 'enabled', budget_tokens: 1024 },
    output_config: { effort: 'medium', format: { type: 'json_schema', schema: { type: 'object' } } },
    tools: [{ name: 'now', input_schema: { type: 'object' } }],
    tool_choice: { type: 'any' },
    metadata: { user_id: 'u' },
    service_tier: 'auto',
    keep_alive: '1m',
  });
  expect(withoutEffect).toEqual(['metadata']);
  expect(fields).toMatchObject({
    sampling: { temperature: 0.5, topK: 3 },
    maxTokens: 9,
    stop: ['END'],
    thinking: true,
    effort: 'high',
    constraint: { kind: 'json-schema' },
    tools: [{ name: 'now', parameters: { type: 'object' } }],
    toolChoice: 'required',
    keepAliveMs: 60_000,
    stream: false,
  });
  expect(ask({ thinking: { type: 'adaptive' } }).fields).not.toHaveProperty('thinking');
  expect(ask({ thinking: { type: 'disabled' } }).fields.thinking).toBe(false);
});

test('a last message of the assistant is continued', () => {
  const { messages } = ask({
    messages: [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: [{ type: 'text', text: 'Hel' }] },
    ],
  }).fields;
  expect(messages.at(-1)).toEqual({ role: 'assistant', content: 'Hel', prefix: true });
});

test.each([
  ['messages[0].content[0]', { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }],
  [
    'messages[0].content[0]',
    { messages: [{ role: 'user', content: [{ type: 'document', source: { type: 'base64', data: '' } }] }] },
  ],
  ['tools[0]', { tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
  ['tool_choice', { tool_choice: { type: 'tool', name: 'none' } }],
  ['mcp_servers', { mcp_servers: [{}] }],
  ['max_tokens', { max_tokens: undefined }],
])('%s is refused', (field, fields) => {
  expect(() => ask(fields)).toThrow(field);
});

test('counting takes a conversation and no settings', () => {
  const { fields } = parseCount({ model: 'm', messages: [{ role: 'user', content: 'Hi' }] });
  expect(fields).toEqual({
    kind: 'chat',
    model: 'm',
    messages: [{ role: 'user', content: 'Hi' }],
    tools: [],
    wishes: true,
  });
});

test("Claude Code's line for billing is no part of the prompt, and is named", () => {
  const line = 'x-anthropic-billing-header: cc_version=2.1.197.7b4; cc_entrypoint=cli; cch=eb6c6;';
  const systemOf = (system: unknown) => {
    const { fields, withoutEffect } = ask({ system });
    return [fields.messages[0]!.content, withoutEffect];
  };
  const named = ['system.x-anthropic-billing-header'];
  const text = (words: string) => ({ type: 'text', text: words });
  expect(systemOf([text(line), text('You are an agent.'), text('Be brief.')])).toEqual([
    'You are an agent.\n\nBe brief.',
    named,
  ]);
  expect(systemOf(`${line}\nBe brief.`)).toEqual(['Be brief.', named]);
  // Said by somebody else it is a text like others.
  expect(systemOf(`Never write "${line}".`)).toEqual([`Never write "${line}".`, []]);
  const alone = ask({ system: [text(line)] });
  expect(alone.fields.messages).toEqual([{ role: 'user', content: 'Hi' }]);
  const count = { model: 'm', system: line, messages: [{ role: 'user', content: 'Hi' }] };
  expect(parseCount(count)).toMatchObject({ fields: { messages: [{ role: 'user' }] }, withoutEffect: named });
});
