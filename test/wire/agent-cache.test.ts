/**
 * Owns: agents that send their history back rendered anew, and what of it the cache still knows.
 *
 * What is re-rendered, and how, is what known agents do: arguments parsed and written again, with their keys in another
 * order or over several lines; the thinking of older turns left out; blanks around a text cut off or added.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  argumentsOf,
  resultOf,
  type ScriptedAgent,
  SYSTEM,
  scriptedAgent,
  TURNS,
} from '../fixtures/scripted-agent.ts';
import type { TestServer } from '../fixtures/server.ts';

let scripted: ScriptedAgent;
let server: TestServer;
beforeAll(async () => {
  scripted = await scriptedAgent();
  server = scripted.server;
});
afterAll(() => scripted[Symbol.asyncDispose]());

interface Call {
  readonly id: string;
  readonly function: { readonly name: string; readonly arguments: string };
}
interface Assistant {
  readonly role: 'assistant';
  readonly content: string;
  readonly reasoning_content?: string;
  readonly tool_calls: readonly Call[];
}
type Said = Assistant | { readonly role: string; readonly content: string; readonly tool_call_id?: string };

/** The same message as an agent would write it in its so manieth request. */
function rendered(said: Said, request: number, age: number): Said {
  if (!('tool_calls' in said)) return said;
  const { reasoning_content: reasoning, ...rest } = said;
  return {
    ...rest,
    content: request % 2 === 0 ? said.content.trim() : `${said.content}\n`,
    ...(age > 2 || reasoning === undefined ? {} : { reasoning_content: reasoning }),
    tool_calls: said.tool_calls.map((call) => {
      const entries = Object.entries(JSON.parse(call.function.arguments) as object);
      const value = Object.fromEntries(request % 2 === 0 ? entries : entries.toReversed());
      const text = JSON.stringify(value, null, request % 3 === 0 ? 2 : undefined);
      return { ...call, function: { ...call.function, arguments: text } };
    }),
  };
}

/** Runs an agent for so many turns; `sent` may change what it sends back. */
async function agent(turns: number, sent: (message: Said) => Said = (message) => message) {
  const history: Said[] = [{ role: 'user', content: 'Mend the build.' }];
  let [promptTokens, cachedTokens] = [0, 0];
  for (let turn = 0; turn < turns; turn++) {
    const messages = history.map((said, i) => sent(rendered(said, turn, (history.length - i) / 2)));
    const response = await fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({
        model: 'agent',
        messages: [{ role: 'system', content: SYSTEM }, ...messages],
        max_tokens: 400,
        tools: [{ type: 'function', function: { name: 'look', parameters: { type: 'object' } } }],
      }),
    });
    const { choices, usage } = (await response.json()) as {
      choices: { message: Assistant; finish_reason: string }[];
      usage: { prompt_tokens: number; prompt_cache_hit_tokens: number };
    };
    const { message, finish_reason: reason } = choices[0]!;
    expect([turn, reason]).toEqual([turn, 'tool_calls']);
    expect(JSON.parse(message.tool_calls[0]!.function.arguments)).toEqual(argumentsOf(turn));
    promptTokens += usage.prompt_tokens;
    cachedTokens += usage.prompt_cache_hit_tokens;
    history.push(message, {
      role: 'tool',
      tool_call_id: message.tool_calls[0]!.id,
      content: resultOf(turn),
    });
  }
  return { promptTokens, cachedTokens, share: cachedTokens / promptTokens };
}

const prefixes = () => scripted.prefixes();

test(`over ${TURNS} turns of a history rendered anew, 95 % of the prompt tokens are in the cache`, async () => {
  const { share } = await agent(TURNS);
  expect(share).toBeGreaterThanOrEqual(0.95);
  expect(prefixes().filter(({ broke }) => broke !== undefined)).toEqual([]);
  expect(prefixes().at(-1)).toEqual({ replayed: TURNS - 1, rendered: 0 });
  const metrics = await (await fetch(`${server.url}/metrics`)).text();
  const all = ((TURNS - 1) * TURNS) / 2;
  expect(metrics).toContain(`hadal_replayed_answers_total{gen_ai_request_model="agent"} ${all}`);
}, 600_000);

test('without ids that are known here the same agent breaks its prefix, and the log says so', async () => {
  const known = prefixes().length;
  const { share } = await agent(6, (said) =>
    'tool_calls' in said
      ? { ...said, tool_calls: said.tool_calls.map((call) => ({ ...call, id: `other_${call.id}` })) }
      : {
          ...said,
          ...(said.tool_call_id === undefined ? {} : { tool_call_id: `other_${said.tool_call_id}` }),
        },
  );
  const since = prefixes().slice(known + 2);
  expect(share).toBeLessThan(0.95);
  expect(since.map(({ rendered, broke }) => [rendered > 0, broke?.why])).toEqual(
    since.map(() => [true, 'rendering']),
  );
});

describe('the log says where a prefix broke, and why', () => {
  const user = { role: 'user', content: 'Where does it begin? Read it and tell me.' };
  const call = { id: 'a', function: { name: 'look', arguments: '{}' } };
  const called = { role: 'assistant', content: 'I look.', tool_calls: [call] };
  const result = { role: 'tool', tool_call_id: 'a', content: 'nothing there' };
  const tools = [{ type: 'function', function: { name: 'look' } }];
  const ask = (messages: readonly object[], more: object = { tools }) =>
    fetch(`${server.url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'agent', messages, max_tokens: 1, ...more }),
    }).then((response) => response.text());
  const system = { role: 'system', content: 'Be brief.' };
  const whole = [system, user, called, result];

  test.each([
    ['tools', undefined, whole, { tools: [{ type: 'function', function: { name: 'see' } }] }],
    ['system', 0, [{ ...system, content: 'Be briefer.' }, user, called, result], { tools }],
    ['answer', 2, [system, user, { ...called, content: 'I saw.' }, result], { tools }],
    ['message', 3, [system, user, called, { ...result, content: 'something' }], { tools }],
    [
      'rendering',
      undefined,
      [...whole, { role: 'assistant', content: 'Oh.' }, { role: 'user', content: 'And?' }],
      { tools },
    ],
  ])('%s', async (why, message, messages, more) => {
    await ask(whole);
    await ask(messages, more);
    const { broke } = prefixes().at(-1)!;
    expect(broke).toMatchObject({ why, ...(message === undefined ? {} : { message }) });
  });
});
