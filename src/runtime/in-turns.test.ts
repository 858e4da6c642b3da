import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { adversaries } from '../../bench/formats/texts.mjs';
import { ggufFields, golden } from '../../test/golden/tokenizer/golden.ts';
import type { Message } from '../chat/delta.ts';
import { plainParser } from '../chat/parsers/plain.ts';
import { tokenizerFromGguf } from '../tokenizer/from-gguf.ts';
import type { Steps } from '../tokenizer/tokenizer.ts';
import { type AnsweringEngine, createAnswerer } from './answerer.ts';
import { createEmbedder } from './embedder.ts';
import { inTurns } from './in-turns.ts';

const tokenizer = tokenizerFromGguf(ggufFields(golden('deepseek-v3').tokenizer, 'deepseek-v3'));
/** Nothing but prompts is of interest here. */
const engine: AnsweringEngine & Parameters<typeof createEmbedder>[0]['engine'] = {
  async *generate() {},
  async *embed() {
    yield { vector: new Float32Array(1) };
  },
  abort() {},
};
const answerer = createAnswerer({
  engine,
  tokenizer,
  contextTokens: 1 << 30,
  sampling: { temperature: 0 },
  chatFormat: () => ({
    family: 'plain',
    supports: { tools: false, toolsWhileThinking: false, thinking: 'never', effort: [], prefill: false },
    endIds: [],
    parser: plainParser,
    render: (messages) => ({
      parts: messages.map(({ content }) => ({ kind: 'text', text: content ?? '' })),
      opens: 'content',
    }),
  }),
});

/** How often others had their turn during some work. */
async function turnsDuring(work: Promise<unknown>): Promise<number> {
  let turns = 0;
  let over = false;
  const others = (async () => {
    for (; !over; turns++) await nextTurn();
  })();
  await work.finally(() => {
    over = true;
  });
  await others;
  return turns;
}

async function read(deltas: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of deltas);
}

const said = (content: string): Message[] => [{ role: 'user', content }];

const letters = adversaries().find(([name]) => name === 'random letters, one word')![1];

test.each([
  ['counted', () => answerer.countTokens(said(letters))],
  ['a conversation', () => read(answerer.chat(said(letters)))],
  ['continued', () => read(answerer.complete(letters))],
  [
    'embedded',
    () => createEmbedder({ engine, tokenizer, dimensions: 1, pooling: () => 'mean' }).embed(letters),
  ],
] as const)('others have their turn while 1 MB of text is %s', async (_name, work) => {
  // It takes hundreds of times as long as nobody may have a turn.
  expect(await turnsDuring(work())).toBeGreaterThan(5);
});

test('cutting a long text into words is work in steps, as merging them is', () => {
  const text = 'x y z. '.repeat(1 << 18);
  let steps = 0;
  for (const work = tokenizer.encodeInSteps(text, { special: true }); !work.next().done; ) steps++;
  // Words are merged 8,192 units at a time; cutting goes over the text once at least, 32,768 at a time.
  expect(steps).toBeGreaterThan(text.length / 8_192 + text.length / 32_768 - 2);
});

test('many who work at once share a turn, and each comes to its own', async () => {
  const busy = (ms: number) => {
    const untilMs = performance.now() + ms;
    while (performance.now() < untilMs);
  };
  const ended: string[] = [];
  const work = async (name: string, count: number) => {
    function* slow(): Steps<void> {
      for (let i = 0; i < count; i++) {
        busy(2);
        yield;
      }
    }
    await inTurns(slow());
    ended.push(name);
  };
  const all = Promise.all([...Array.from({ length: 20 }, () => work('long', 30)), work('short', 1)]);
  const turns = await turnsDuring(all);
  // 600 steps, of which no turn holds more than some: 20 at once would be done in a tenth as many.
  expect(turns).toBeGreaterThan(600 / 6);
  expect(ended.indexOf('short')).toBe(0);
});

test('who has left is not worked for any longer', async () => {
  const controller = new AbortController();
  let count = 0;
  function* endless(): Steps<never> {
    for (;;) {
      count++;
      yield;
    }
  }
  setImmediate(() => controller.abort(new Error('left')));
  await expect(inTurns(endless(), controller.signal)).rejects.toThrow('left');
  expect(count).toBeGreaterThan(0);
});
