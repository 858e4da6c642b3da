/**
 * Owns: agents that speak Anthropic's messages and OpenAI's responses by their real libraries, send their history back
 * rendered anew as known agents do, and what of it the cache still knows.
 *
 * Of each agent what its requests were seen to do, or its sources: Claude Code writes calls again from parsed input, moves
 * `cache_control` along, puts a line for billing before its instructions that changes from request to request, and leaves
 * blank texts and older thinking out; Codex leaves ids and states of items out; Cline and others leave thinking out and
 * write arguments again; Aider calls nothing, sends texts alone, and moves a reminder along with the last of them.
 */
import Anthropic from '@anthropic-ai/sdk';
import { type Message, Ollama } from 'ollama';
import OpenAI from 'openai';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  argumentsOf,
  resultOf,
  type ScriptedAgent,
  SYSTEM,
  scriptedAgent,
  TURNS,
} from '../fixtures/scripted-agent.ts';

let agent: ScriptedAgent;
beforeAll(async () => {
  agent = await scriptedAgent();
});
afterAll(() => agent[Symbol.asyncDispose]());

const REQUEST = 'Mend the build.';
const PARAMETERS = {
  type: 'object' as const,
  properties: { path: { type: 'string' }, line: { type: 'integer' } },
};
/** Keys in another order, in every second request. */
const reordered = (value: object, request: number): object =>
  request % 2 === 0 ? value : Object.fromEntries(Object.entries(value).toReversed());

/** What of the prompts of a conversation was in the cache; every answer before was to be read as it was sampled. */
function judged(usages: readonly { readonly prompt: number; readonly cached: number }[], from: number): void {
  const sum = (field: 'prompt' | 'cached') => usages.reduce((total, usage) => total + usage[field], 0);
  const mine = agent.prefixes().slice(from);
  expect(mine.filter(({ broke }) => broke !== undefined)).toEqual([]);
  expect(mine.map(({ replayed, rendered }) => [replayed, rendered])).toEqual(usages.map((_, i) => [i, 0]));
  expect(sum('cached') / sum('prompt')).toBeGreaterThanOrEqual(0.95);
}

type Blocks = Exclude<Anthropic.MessageParam['content'], string>;

/** A turn as Claude Code sends it back in its so manieth request. */
function turnOf({ content }: Anthropic.Message, request: number, age: number): Anthropic.MessageParam {
  const blocks = content.flatMap((block): Blocks => {
    switch (block.type) {
      case 'thinking':
        return age > 3 ? [] : [{ type: 'thinking', thinking: block.thinking, signature: block.signature }];
      case 'text': {
        const text = request % 2 === 0 ? block.text.trim() : `${block.text}\n`;
        return block.text.trim() === '' ? [] : [{ type: 'text', text }];
      }
      case 'tool_use': {
        const { id, name, input } = block;
        return [{ type: 'tool_use', id, name, input: reordered(input as object, request) }];
      }
      default:
        return expect.unreachable();
    }
  });
  return { role: 'assistant', content: blocks };
}

test(`Claude Code: over ${TURNS} turns 95 % of the prompt tokens are in the cache`, async () => {
  const client = new Anthropic({ baseURL: agent.server.url, apiKey: 'any', maxRetries: 0 });
  const from = agent.prefixes().length;
  const usages = [];
  const history: { readonly said: Anthropic.Message; readonly result: string }[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    const messages: Anthropic.MessageParam[] = [{ role: 'user', content: [{ type: 'text', text: REQUEST }] }];
    for (const [i, { said, result }] of history.entries()) {
      const last = i === history.length - 1;
      const call = said.content.find((block) => block.type === 'tool_use')!;
      messages.push(turnOf(said, turn, history.length - i), {
        role: 'user',
        content: [
          {
            type: 'tool_result',
            tool_use_id: call.id,
            content: turn % 2 === 0 ? result : [{ type: 'text', text: result }],
            ...(last ? { cache_control: { type: 'ephemeral' } } : {}),
          },
        ],
      });
    }
    const stream = client.messages.stream({
      model: 'agent',
      max_tokens: 400,
      system: [
        { type: 'text', text: `x-anthropic-billing-header: cc_version=2.1.197.${turn}a; cch=${turn}f0c;` },
        { type: 'text', text: 'You are an agent.' },
        { type: 'text', text: SYSTEM, cache_control: { type: 'ephemeral' } },
      ],
      thinking: { type: 'enabled', budget_tokens: 300 },
      tools: [{ name: 'look', input_schema: PARAMETERS }],
      messages,
    });
    const said = await stream.finalMessage();
    expect([turn, said.stop_reason]).toEqual([turn, 'tool_use']);
    expect(said.content.map(({ type }) => type)).toEqual(['thinking', 'text', 'tool_use']);
    expect(said.content[2]).toMatchObject({ input: argumentsOf(turn) });
    const { input_tokens: fresh, cache_read_input_tokens: cached } = said.usage;
    usages.push({ prompt: fresh + cached!, cached: cached! });
    history.push({ said, result: resultOf(turn) });
  }
  judged(usages, from);
}, 600_000);

type Item = OpenAI.Responses.ResponseInputItem;

/** Items as Codex sends them back (without ids and states), or as agents that leave thinking out and write JSON again. */
const RENDERINGS: Readonly<
  Record<string, (item: OpenAI.Responses.ResponseOutputItem, request: number) => object[]>
> = {
  Codex: (item) => {
    const { id: _id, status: _status, ...rest } = item as unknown as Record<string, unknown>;
    return [rest];
  },
  'an agent without thinking': (item, request) => {
    if (item.type === 'reasoning') return [];
    if (item.type === 'function_call') {
      const value = reordered(JSON.parse(item.arguments) as object, request);
      return [{ ...item, arguments: JSON.stringify(value, null, request % 3 === 0 ? 2 : undefined) }];
    }
    if (item.type !== 'message') return expect.unreachable();
    const text = item.content.map((part) => (part.type === 'output_text' ? part.text : '')).join('');
    return [{ role: 'assistant', content: request % 2 === 0 ? text.trim() : `${text}\n` }];
  },
};

test.each(Object.keys(RENDERINGS))(
  `responses, %s: over ${TURNS} turns 95 percent of the prompt tokens are in the cache`,
  async (name) => {
    const client = new OpenAI({ baseURL: `${agent.server.url}/v1`, apiKey: 'any', maxRetries: 0 });
    const from = agent.prefixes().length;
    const usages = [];
    const history: { readonly output: OpenAI.Responses.ResponseOutputItem[]; readonly result: object }[] = [];
    for (let turn = 0; turn < TURNS; turn++) {
      const input = [
        { role: 'user', content: [{ type: 'input_text', text: `${REQUEST} (${name})` }] },
        ...history.flatMap(({ output, result }) => [
          ...output.flatMap((item) => RENDERINGS[name]!(item, turn)),
          result,
        ]),
      ] as Item[];
      const response = await client.responses.create({
        model: 'agent',
        instructions: SYSTEM,
        input,
        store: false,
        include: ['reasoning.encrypted_content'],
        tools: [{ type: 'function', name: 'look', parameters: PARAMETERS, strict: null }],
        max_output_tokens: 400,
      });
      const { output, usage } = response;
      expect([turn, output.map(({ type }) => type)]).toEqual([
        turn,
        ['reasoning', 'message', 'function_call'],
      ]);
      const call = output[2] as OpenAI.Responses.ResponseFunctionToolCall;
      expect(JSON.parse(call.arguments)).toEqual(argumentsOf(turn));
      usages.push({ prompt: usage!.input_tokens, cached: usage!.input_tokens_details.cached_tokens });
      history.push({
        output,
        result: { type: 'function_call_output', call_id: call.call_id, output: resultOf(turn) },
      });
    }
    judged(usages, from);
  },
  600_000,
);

test(`Aider: over ${TURNS} turns of texts alone 95 % of the prompt tokens are in the cache`, async () => {
  await using writer = await scriptedAgent({ calls: false });
  const client = new OpenAI({ baseURL: `${writer.server.url}/v1`, apiKey: 'any', maxRetries: 0 });
  const history: OpenAI.Chat.ChatCompletionMessageParam[] = [];
  let [prompt, cached] = [0, 0];
  for (let turn = 0; turn < TURNS; turn++) {
    const asked = `Change it, please. ${turn === 0 ? '' : resultOf(turn - 1)}`.trim();
    const { choices, usage } = await client.chat.completions.create({
      model: 'agent',
      messages: [
        { role: 'system', content: SYSTEM },
        ...history,
        { role: 'user', content: `${asked}\n\nReturn edits alone, each in a block of its own.` },
      ],
      max_tokens: 400,
    });
    const { message, finish_reason: reason } = choices[0]!;
    expect([reason, message.content]).toEqual(['stop', `I look. Line ${turn} of it is changed.\n`]);
    prompt += usage!.prompt_tokens;
    cached += usage!.prompt_tokens_details!.cached_tokens!;
    history.push({ role: 'user', content: asked }, { role: 'assistant', content: message.content!.trim() });
  }
  expect(cached / prompt).toBeGreaterThanOrEqual(0.95);
  // The reminder leaves the last message, and the log says so from where the first message stays as it was.
  const why = writer.prefixes().map(({ broke }) => broke?.why);
  expect(why).toEqual(Array.from({ length: TURNS }, (_, turn) => (turn < 2 ? undefined : 'message')));
}, 600_000);

test(`Ollama, whose calls come back without ids: over ${TURNS} turns still 95 % of the prompt tokens`, async () => {
  const client = new Ollama({ host: agent.server.url });
  const messages: Message[] = [
    { role: 'system', content: SYSTEM },
    { role: 'user', content: `${REQUEST} (Ollama)` },
  ];
  const from = agent.prefixes().length;
  let [prompt, cached] = [0, 0];
  for (let turn = 0; turn < TURNS; turn++) {
    const { message } = await client.chat({
      model: 'agent',
      messages,
      tools: [{ type: 'function', function: { name: 'look', description: '', parameters: PARAMETERS } }],
      options: { num_predict: 400 },
    });
    const { function: call } = message.tool_calls![0]!;
    expect(call.arguments).toEqual(argumentsOf(turn));
    const { role, content, thinking } = message;
    messages.push(
      { role, content: content.trim(), ...(thinking ? { thinking } : {}), tool_calls: [{ function: call }] },
      { role: 'tool', tool_name: 'look', content: resultOf(turn) },
    );
  }
  const answered = agent.server.lines.filter(({ msg }) => msg === 'answered').slice(-TURNS);
  for (const { promptTokens, cachedTokens } of answered) {
    prompt += promptTokens as number;
    cached += cachedTokens as number;
  }
  // Nobody knows them again; each is new to the cache once, as its client writes it.
  expect(
    agent
      .prefixes()
      .slice(from)
      .map(({ replayed }) => replayed),
  ).toEqual(answered.map(() => 0));
  expect(cached / prompt).toBeGreaterThanOrEqual(0.95);
}, 600_000);
