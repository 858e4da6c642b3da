/** Owns: what is counted of answers with several choices, and of engines that two ask for at once. */
import { expect, test } from 'vitest';
import type { Delta } from '../chat/delta.ts';
import type { EngineStats } from '../engine/request.ts';
import { createLog } from '../http/log.ts';
import { createMetrics } from '../http/metrics.ts';
import type { ServingModel } from './answering.ts';
import type { Models } from './models.ts';
import { measureEngines, watchAnswer } from './observing.ts';

const labels = { requestId: '1', key: undefined, model: 'm', operation: 'chat', streamed: true } as const;

const said = (choice: number): Delta => ({ type: 'content', choice, text: 'x', tokens: { ids: [1] } });
const ended = (choice: number): Delta => ({
  type: 'end',
  choice,
  reason: 'length',
  usage: { promptTokens: 4, cachedTokens: 0, generatedTokens: 3, prefillMs: 1, decodeMs: 1, seed: 1 },
});

test('gaps and times of a token are those of each choice by itself', async () => {
  const metrics = createMetrics();
  const watch = watchAnswer({ log: createLog({ write() {} }), metrics }, labels);
  for (const choice of [0, 1, 0, 1, 0, 1]) watch.delta(said(choice));
  for (const choice of [0, 1]) watch.delta(ended(choice));
  watch.end();
  const text = await metrics.registry.metrics();
  const count = (name: string) => Number(new RegExp(`^${name}_count\\{.*\\} (\\d+)$`, 'm').exec(text)?.[1]);
  expect(count('gen_ai_server_time_to_first_token_seconds')).toBe(1);
  expect(count('hadal_inter_token_gap_seconds')).toBe(4);
  expect(count('gen_ai_server_time_per_output_token_seconds')).toBe(2);
});

test('whoever asks while another does sees what was measured last', async () => {
  const metrics = createMetrics();
  const waiting: ((stats: unknown) => void)[] = [];
  const engine = { stats: () => new Promise((resolve) => waiting.push(resolve)) };
  const models = {
    status: () => [{ model: { name: 'm' } }],
    peek: () => ({ engine }),
  } as unknown as Models<ServingModel>;
  const stats: EngineStats = {
    runningRequests: 3,
    waitingRequests: 0,
    pageTokens: 16,
    weightBytes: 1,
    cacheBytes: 1,
    tensorBytes: 1,
    steps: 1,
    prefillRows: 1,
    decodeRows: 1,
    pages: { total: 4, used: 1, kept: 1 },
    drafts: { drafted: 0, accepted: 0, tokensPerStep: 1, gain: 1 },
  };
  const running = async () =>
    /^hadal_engine_running_sequences\{.*\} (\d+)$/m.exec(await metrics.registry.metrics())?.[1];
  const first = measureEngines(metrics, models);
  waiting[0]!(stats);
  await first;
  const second = measureEngines(metrics, models);
  expect(await running()).toBe('3');
  waiting[1]!({ ...stats, runningRequests: 2 });
  await second;
  expect(await running()).toBe('2');
});
