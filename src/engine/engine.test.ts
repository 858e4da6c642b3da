import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runTokens } from '../../test/fixtures/run-model.ts';
import { toyGgufFile } from '../../test/fixtures/toy-file.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import type { Backend } from '../backend/backend.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/model.ts';
import { createEngine, type Engine, type EngineOptions } from './engine.ts';
import { argmax } from './largest.ts';
import type { EngineEvent, GenerateRequest } from './request.ts';

const shapes = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];
const shape = shapes.find(({ name }) => name === 'llama-grouped-tied')!;

let backend: Backend;
let model: Model;
beforeAll(async () => {
  backend = createReferenceBackend();
  model = await loadModel(toyGgufFile(shape), backend);
});
afterAll(() => backend[Symbol.asyncDispose]());

const start = (options: EngineOptions = {}) =>
  createEngine(backend, model, { contextTokens: 128, ...options });
const prompt = (length: number, seed = 1) =>
  Int32Array.from({ length }, (_, i) => ((i + 1) * 37 * seed + seed) % shape.vocab);

let lastId = 0;
const nextId = () => `request ${++lastId}`;
const ask = (promptIds: Int32Array, more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  requestId: nextId(),
  promptIds,
  maxTokens: 12,
  sampling: { temperature: 0 },
  endIds: [],
  ...more,
});

async function all(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const list: EngineEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}

/** Ids and log-probabilities: equal only where the bits are. */
async function answer(engine: Engine, request: GenerateRequest) {
  const events = await all(engine.generate({ topLogprobs: 2, ...request }));
  const end = events.at(-1)!;
  if (end.type !== 'end') throw new Error('no end');
  const tokens = events.flatMap((event) => (event.type === 'token' ? [event] : []));
  return { tokens, ids: tokens.map(({ id }) => id), end };
}

test('greedy tokens are those of the model fed by hand', async () => {
  await using engine = start();
  const ids = [...prompt(9)];
  const { ids: generated } = await answer(engine, ask(prompt(9)));
  for (let i = 0; i < 12; i++) {
    const { logits } = await runTokens(model, backend, ids, { cache: 'F16', decode: i });
    ids.push(argmax(logits.subarray((ids.length - 1) * shape.vocab)));
  }
  expect(generated).toEqual(ids.slice(9));
});

test('a request that is given up while another engine has its turn is not computed', async () => {
  let turn!: () => void;
  let begun!: () => void;
  const waits = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const lease = {
    take: () =>
      new Promise<void>((resolve) => {
        turn = resolve;
        begun();
      }),
    pause() {},
  };
  await using engine = start({ lease });
  const left = ask(prompt(64));
  const ended = all(engine.generate(left));
  await waits;
  engine.abort(left.requestId);
  turn();
  expect((await ended).at(-1)).toMatchObject({ type: 'end', reason: 'abort' });
  expect(engine.stats()).toMatchObject({ steps: 0, prefillRows: 0, runningRequests: 0 });
});

test('the same bits alone, in a crowd, in other chunks and from the cache', async () => {
  await using engine = start();
  await using small = start({ maxRows: 3, maxSequences: 2 });
  const wanted = ask(prompt(50), { sampling: { temperature: 0.8, seed: 5 } });
  const again = () => ({ ...wanted, requestId: nextId() });
  const alone = await answer(engine, again());
  expect(alone.end.usage.cachedTokens).toBe(0);
  const cached = await answer(engine, again());
  expect(cached.end.usage.cachedTokens).toBe(48);
  const chunked = await answer(small, again());
  await using crowded = start();
  const [crowd] = await Promise.all([
    answer(crowded, again()),
    answer(crowded, ask(prompt(7, 3))),
    answer(crowded, ask(prompt(33, 5), { sampling: { temperature: 1, seed: 2 } })),
  ]);
  for (const other of [cached, chunked, crowd]) expect(other.tokens).toEqual(alone.tokens);
});

test('greedy without log-probabilities chooses the same tokens', async () => {
  await using engine = start();
  const { ids } = await answer(engine, ask(prompt(20)));
  const events = await all(engine.generate(ask(prompt(20))));
  expect(events.flatMap((event) => (event.type === 'token' ? [event.id] : []))).toEqual(ids);
});

test('when pages run out the youngest is computed again, with the same bits', async () => {
  await using roomy = start({ contextTokens: 64, cacheTokens: 1024 });
  await using narrow = start({ contextTokens: 64, cacheTokens: 64 });
  const asked = [1, 2, 3, 4].map((seed) => ask(prompt(14, seed), { maxTokens: 40 }));
  const wide = await Promise.all(asked.map((request) => answer(roomy, request)));
  const tight = await Promise.all(asked.map((request) => answer(narrow, request)));
  expect(tight.map(({ tokens }) => tokens)).toEqual(wide.map(({ tokens }) => tokens));
  expect(narrow.stats().pages.used).toBe(0);
});

test('ends: an end token, the length, the context', async () => {
  await using engine = start({ contextTokens: 32 });
  const free = await answer(engine, ask(prompt(20), { maxTokens: 100 }));
  expect(free.end.reason).toBe('context');
  expect(free.ids.length).toBe(12);
  expect((await answer(engine, ask(prompt(20), { maxTokens: 3 }))).end.reason).toBe('length');
  const stop = free.ids[4]!;
  const stopped = await answer(engine, ask(prompt(20), { endIds: [stop] }));
  expect(stopped.end.reason).toBe('stop');
  expect(stopped.ids).toEqual(free.ids.slice(0, free.ids.indexOf(stop) + 1));
});

test('prompt progress is reported and ends at the prompt', async () => {
  await using engine = start({ maxRows: 8 });
  const events = await all(engine.generate(ask(prompt(20))));
  const done = events.flatMap((event) => (event.type === 'prefill' ? [event.doneTokens] : []));
  expect(done).toEqual([8, 16, 20]);
});

describe('abort', () => {
  test('while it answers: an end with what was generated, and the engine goes on', async () => {
    await using engine = start();
    const request = ask(prompt(20), { maxTokens: 90 });
    const whole = await answer(engine, ask(prompt(20), { maxTokens: 90 }));
    const tokens: number[] = [];
    let reason = '';
    for await (const event of engine.generate(request)) {
      if (event.type === 'token' && tokens.push(event.id) === 5) engine.abort(request.requestId);
      if (event.type === 'end') reason = event.reason;
    }
    expect(reason).toBe('abort');
    expect(whole.ids.slice(0, tokens.length)).toEqual(tokens);
    expect((await answer(engine, ask(prompt(20), { maxTokens: 90 }))).tokens).toEqual(whole.tokens);
  });

  test('a reader that leaves frees its pages', async () => {
    await using engine = start();
    for await (const event of engine.generate(ask(prompt(20)))) if (event.type === 'token') break;
    await answer(engine, ask(prompt(5)));
    expect(engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0 });
    expect(engine.stats().pages.used).toBe(0);
  });

  test('at any point, in any crowd: every request ends, the others have their bits, no page is lost', async () => {
    const plan = fc.array(
      fc.record({
        promptTokens: fc.integer({ min: 1, max: 40 }),
        seed: fc.integer({ min: 1, max: 3 }),
        maxTokens: fc.integer({ min: 1, max: 12 }),
        /** Events after which it is aborted; none when beyond the end. */
        abortAfter: fc.integer({ min: 0, max: 40 }),
      }),
      { minLength: 1, maxLength: 5 },
    );
    await using alone = start();
    await fc.assert(
      fc.asyncProperty(plan, fc.integer({ min: 2, max: 20 }), async (requests, maxRows) => {
        await using engine = start({ cacheTokens: 128, maxRows, maxSequences: 2 });
        await Promise.all(
          requests.map(async ({ promptTokens, seed, maxTokens, abortAfter }) => {
            const request = ask(prompt(promptTokens, seed), { maxTokens, topLogprobs: 1 });
            const got: EngineEvent[] = [];
            for await (const event of engine.generate(request)) {
              if (got.push(event) === abortAfter) engine.abort(request.requestId);
            }
            expect(got.at(-1)?.type).toBe('end');
            const tokens = got.filter(({ type }) => type === 'token');
            const expected = await answer(alone, { ...request, requestId: nextId() });
            expect(tokens).toEqual(expected.tokens.slice(0, tokens.length));
          }),
        );
        expect(engine.stats()).toMatchObject({ runningRequests: 0, waitingRequests: 0 });
        expect(engine.stats().pages.used).toBe(0);
      }),
      { numRuns: 25, seed: 11 },
    );
  });
});

test('scores are the logits of every position in either class', async () => {
  await using engine = start();
  const ids = prompt(37);
  for (const rowClass of ['prefill', 'decode'] as const) {
    const rows: number[] = [];
    for await (const { firstPosition, logits } of engine.score({
      requestId: rowClass,
      ids,
      class: rowClass,
    })) {
      expect(firstPosition * shape.vocab).toBe(rows.length);
      rows.push(...logits);
    }
    const options = { cache: 'F16' as const, decode: rowClass === 'decode' ? ids.length : 0 };
    expect(rows).toEqual([...(await runTokens(model, backend, ids, options)).logits]);
  }
});

describe('log-probabilities of the prompt', () => {
  const scored = async (engine: Engine, request: GenerateRequest) => {
    const events = await all(engine.generate({ promptLogprobs: 2, topLogprobs: 2, ...request }));
    const told = events.flatMap((event) => (event.type === 'prompt' ? event.tokens : []));
    const tokens = events.flatMap((event) => (event.type === 'token' ? [event] : []));
    return { told, tokens, end: events.at(-1)! };
  };

  test('the same bits in chunks, among others, and where the prompt was cached; the answer is what it was', async () => {
    await using alone = start({ maxRows: 64 });
    const plain = await answer(alone, ask(prompt(50)));
    const first = await scored(alone, ask(prompt(50)));
    expect(first.told.map(({ id }) => id)).toEqual([...prompt(50)]);
    expect(first.told.map(({ logprob }) => logprob === undefined)).toEqual([true, ...Array(49).fill(false)]);
    expect(first.tokens).toEqual(plain.tokens);
    expect(first.end).toMatchObject({ type: 'end', usage: { cachedTokens: 0, generatedTokens: 12 } });
    await using busy = start({ maxRows: 8, cacheTokens: 160 });
    const asked = [1, 2, 3, 1].map((seed) => scored(busy, ask(prompt(50, seed))));
    const [again, , , twin] = await Promise.all(asked);
    expect(again!.told).toEqual(first.told);
    expect(again!.tokens).toEqual(first.tokens);
    expect(twin!.told).toEqual(first.told);
    // What was computed for it is there for others.
    expect((await answer(alone, ask(prompt(50)))).end.usage.cachedTokens).toBe(48);
  });

  test('nothing but the prompt, down to one token', async () => {
    await using engine = start();
    for (const length of [1, 2, 40]) {
      const { told, tokens, end } = await scored(engine, ask(prompt(length), { maxTokens: 0 }));
      expect(told).toHaveLength(length);
      expect(tokens).toEqual([]);
      expect(end).toMatchObject({ type: 'end', reason: 'length', usage: { generatedTokens: 0 } });
    }
  });

  test('one that leaves in the middle of it lets the others go on', async () => {
    await using engine = start({ maxRows: 8 });
    const other = scored(engine, ask(prompt(50, 2)));
    for await (const event of engine.generate(ask(prompt(60), { promptLogprobs: 1 }))) {
      if (event.type === 'prompt') break;
    }
    expect((await other).told).toHaveLength(50);
    expect(engine.stats()).toMatchObject({ runningRequests: 0, pages: { used: 0 } });
  });
});

describe('refusals', () => {
  const cases: readonly [string, Partial<GenerateRequest>, string][] = [
    ['an empty prompt', { promptIds: new Int32Array(0) }, 'request-invalid'],
    ['an id outside the vocabulary', { promptIds: Int32Array.of(1, shape.vocab) }, 'request-invalid'],
    ['a prompt as long as the context', { promptIds: prompt(128) }, 'prompt-too-long'],
    ['no tokens', { maxTokens: 0 }, 'request-invalid'],
    ['a temperature that is no number', { sampling: { temperature: Number.NaN } }, 'request-invalid'],
    ['a share above one', { sampling: { temperature: 1, topP: 1.5 } }, 'request-invalid'],
    ['a bias on nothing', { sampling: { temperature: 1, logitBias: [[-1, 1]] } }, 'request-invalid'],
  ];
  test.each(cases)('%s', async (_name, more, code) => {
    await using engine = start();
    await expect(all(engine.generate(ask(prompt(4), more)))).rejects.toMatchObject({ code });
    expect((await answer(engine, ask(prompt(4)))).ids.length).toBe(12);
  });

  test('the same id twice at once', async () => {
    await using engine = start();
    const request = ask(prompt(4));
    const first = all(engine.generate(request));
    await expect(all(engine.generate(request))).rejects.toMatchObject({ code: 'request-invalid' });
    expect((await first).at(-1)?.type).toBe('end');
  });

  test('a context beyond the model', () => {
    expect(() => start({ contextTokens: 513 })).toThrow(/2 to 512 tokens/);
  });

  test('a closed engine', async () => {
    const engine = start();
    const running = all(engine.generate(ask(prompt(4), { maxTokens: 100 })));
    await engine[Symbol.asyncDispose]();
    expect((await running).at(-1)).toMatchObject({ type: 'end', reason: 'abort' });
    await expect(all(engine.generate(ask(prompt(4))))).rejects.toMatchObject({ code: 'engine-closed' });
  });
});
