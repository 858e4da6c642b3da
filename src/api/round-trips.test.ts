/** Owns: an answer that a client sends back as it came is the turn that was made, in every protocol that has turns. */
import { expect, test } from 'vitest';
import type { Delta, Message } from '../chat/delta.ts';
import { parseChat as parseOllama } from './ollama/chat-request.ts';
import { ollamaDocument, ollamaStream } from './ollama/response.ts';
import { parseChat as parseOpenai } from './openai/chat-request.ts';
import { chatDocument } from './openai/chat-response.ts';
import { parseResponses } from './openai/response-request.ts';
import { responseDocument, responseStream } from './openai/response-response.ts';
import type { ResponseContext, StreamEncoder } from './request.ts';

const context: ResponseContext = { id: 'id', model: 'm', createdSeconds: 0, bytesOf: () => new Uint8Array() };
const tokens = { ids: [1] };
const usage = { promptTokens: 10, cachedTokens: 4, generatedTokens: 7, prefillMs: 1, decodeMs: 1, seed: 1 };
const DELTAS: readonly Delta[] = [
  { type: 'progress', choice: 0, stage: 'prefill', done: 10, total: 10 },
  { type: 'reasoning', choice: 0, text: 'It may ', tokens },
  { type: 'reasoning', choice: 0, text: 'rain.', tokens },
  { type: 'content', choice: 0, text: 'I look.', tokens },
  { type: 'tool-call', choice: 0, index: 0, id: 'c1', name: 'weather', arguments: '{"city":', tokens },
  { type: 'tool-call', choice: 0, index: 0, arguments: '"Köln"}', tokens },
  { type: 'tool-call', choice: 0, index: 1, id: 'c2', name: 'now', arguments: '{}', tokens },
  { type: 'end', choice: 0, reason: 'tool-calls', usage },
];
const TURN: Message = {
  role: 'assistant',
  content: 'I look.',
  reasoning: 'It may rain.',
  toolCalls: [
    { id: 'c1', name: 'weather', arguments: '{"city":"Köln"}' },
    { id: 'c2', name: 'now', arguments: '{}' },
  ],
};
const asked = { role: 'user', content: 'Rain?' };
const results = [
  { role: 'tool', content: 'wet', toolCallId: 'c1' },
  { role: 'tool', content: 'noon', toolCallId: 'c2' },
];

function eventsOf(encoder: StreamEncoder): Record<string, unknown>[] {
  const events = [...DELTAS.flatMap((delta) => [...encoder.push(delta)]), ...encoder.end()];
  return events.map(({ data }) => JSON.parse(data) as Record<string, unknown>);
}

test("OpenAI's chat/completions", () => {
  const document = chatDocument(DELTAS, context, { logprobs: false }) as unknown as {
    choices: [{ message: object }];
  };
  const messages = [
    asked,
    document.choices[0].message,
    { role: 'tool', tool_call_id: 'c1', content: 'wet' },
    { role: 'tool', tool_call_id: 'c2', content: 'noon' },
  ];
  expect(parseOpenai({ model: 'm', messages }).fields.request.messages).toEqual([asked, TURN, ...results]);
});

test("OpenAI's responses; the last event holds the document", () => {
  const document = responseDocument(DELTAS, context, {}) as { output: object[] };
  const input = [
    asked,
    ...document.output,
    { type: 'function_call_output', call_id: 'c1', output: 'wet' },
    { type: 'function_call_output', call_id: 'c2', output: [{ type: 'input_text', text: 'noon' }] },
  ];
  expect(parseResponses({ model: 'm', input }).fields.request.messages).toEqual([asked, TURN, ...results]);
  expect(eventsOf(responseStream(context, {})).at(-1)).toMatchObject({ response: document });
});

test("Ollama's chat, with and without ids; the lines put together are the document", () => {
  const document = ollamaDocument('chat', DELTAS, context) as { message: { tool_calls: object[] } };
  const back = (message: object) =>
    parseOllama({
      model: 'm',
      messages: [
        asked,
        message,
        { role: 'tool', tool_name: 'weather', content: 'wet' },
        { role: 'tool', tool_name: 'now', content: 'noon' },
      ],
    }).fields.request!.messages;
  expect(back(document.message)).toEqual([asked, TURN, ...results]);
  const bare = document.message.tool_calls.map((call) => ({ ...call, id: undefined }));
  const ids = back({ ...document.message, tool_calls: bare }).flatMap(({ toolCalls = [], toolCallId }) => [
    ...toolCalls.map(({ id }) => id),
    ...(toolCallId === undefined ? [] : [toolCallId]),
  ]);
  expect(ids.slice(2)).toEqual(ids.slice(0, 2));
  const lines = eventsOf(ollamaStream('chat', context)) as { message: Record<string, unknown> }[];
  const calls = lines.flatMap(({ message }) => (message.tool_calls as { function: object }[]) ?? []);
  expect(calls.map(({ function: call }) => call)).toMatchObject([{ name: 'weather' }, { name: 'now' }]);
  expect(lines.map(({ message }) => message.thinking ?? '').join('')).toBe('It may rain.');
});
