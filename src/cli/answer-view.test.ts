import { expect, test } from 'vitest';
import type { Delta } from '../chat/delta.ts';
import type { Usage } from '../engine/request.ts';
import { answerDocument, callLine, figuresLine, showAnswer } from './answer-view.ts';
import type { Terminal } from './terminal.ts';

const usage: Usage = {
  promptTokens: 37,
  cachedTokens: 0,
  generatedTokens: 9,
  prefillMs: 100,
  decodeMs: 50,
  seed: 7,
};
const quiet = { progress: () => undefined, errIsTerminal: false } as unknown as Terminal;
const tokens = { ids: [] };

async function* answer(...deltas: Delta[]): AsyncGenerator<Delta> {
  yield* deltas;
}

const end = (more: Partial<Extract<Delta, { type: 'end' }>> = {}): Delta => ({
  type: 'end',
  choice: 0,
  reason: 'stop',
  usage,
  ...more,
});
const content = (text: string): Delta => ({ type: 'content', choice: 0, text, tokens });

test('content is shown as it comes, thinking apart', async () => {
  const pieces: string[] = [];
  const deltas = answer(
    { type: 'progress', choice: 0, stage: 'prefill', done: 1, total: 2 },
    { type: 'reasoning', choice: 0, text: 'hm', tokens },
    content('a'),
    content('b'),
    end({ stopText: '.' }),
  );
  const finished = await showAnswer(deltas, quiet, (piece) => pieces.push(piece));
  expect(finished).toEqual({
    content: 'ab',
    reasoning: 'hm',
    calls: [],
    reason: 'stop',
    stopText: '.',
    usage,
  });
  expect(pieces).toEqual(['a', 'b']);
});

test('thinking is dimmed for a person who watches, and calls are collected', async () => {
  let shown = '';
  const watched = {
    ...quiet,
    errIsTerminal: true,
    dim: (text: string) => `<${text}>`,
    err: (text: string) => {
      shown += text;
    },
  };
  const call = (text: string, name?: string): Delta => ({
    type: 'tool-call',
    choice: 0,
    index: 0,
    arguments: text,
    tokens,
    ...(name === undefined ? {} : { name }),
  });
  const thought: Delta = { type: 'reasoning', choice: 0, text: 'hm', tokens };
  const deltas = answer(thought, content('a'), call('', 'f'), call('{}'), end({ reason: 'tool-calls' }));
  const finished = await showAnswer(deltas, watched, () => undefined);
  expect(shown).toBe('<hm>\n\n');
  expect(finished.calls.map(callLine)).toEqual(['calls f {}']);
  expect(answerDocument('m', finished, 8192, { temperature: 0 })).toMatchObject({
    reasoning: 'hm',
    tool_calls: [{ name: 'f', arguments: '{}' }],
    finish_reason: 'tool-calls',
  });
});

test('an answer without an end is a fault', async () => {
  await expect(showAnswer(answer(content('a')), quiet)).rejects.toThrow('without its last word');
});

test('the line of figures', () => {
  const line = (more: Partial<Usage>, reason: 'stop' | 'length' | 'abort' = 'stop') =>
    figuresLine({ content: '', reasoning: '', calls: [], reason, usage: { ...usage, ...more } }, 8192);
  // Eight steps of decoding: the first token comes with the prompt.
  expect(line({})).toBe('160 tokens/s · 37 in, 9 out · 8,146 of 8,192 tokens left');
  expect(line({ cachedTokens: 16 })).toContain('37 in (16 known), 9 out');
  expect(line({ generatedTokens: 1 })).toBe('37 in, 1 out · 8,154 of 8,192 tokens left');
  expect(line({}, 'length')).toMatch(/ · cut at the limit$/);
  expect(line({}, 'abort')).toMatch(/ · stopped$/);
});

test('the document counts what was computed and says the seed that was used', () => {
  const finished = {
    content: 'a',
    reasoning: '',
    calls: [],
    reason: 'stop',
    usage: {
      ...usage,
      cachedTokens: 17,
      drafts: { drafted: 6, accepted: 4, tokensPerStep: 2, gain: 1.5 },
    },
  } as const;
  expect(answerDocument('m', finished, 8192, { temperature: 0.2, topP: 0.9 })).toEqual({
    model: 'm',
    content: 'a',
    finish_reason: 'stop',
    usage: {
      prompt_tokens: 37,
      cached_tokens: 17,
      generated_tokens: 9,
      prefill_ms: 100,
      decode_ms: 50,
      prefill_tokens_per_second: 200,
      decode_tokens_per_second: 160,
      drafts: { drafted: 6, accepted: 4, tokens_per_step: 2, gain: 1.5 },
    },
    context_tokens: 8192,
    context_left: 8146,
    sampling: { temperature: 0.2, top_p: 0.9, seed: 7 },
  });
});
