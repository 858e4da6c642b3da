import { describe, expect, test } from 'vitest';
import { PREDICTING, predictingToy } from '../../test/fixtures/predicting-toy.ts';
import { toyGgufFile } from '../../test/fixtures/toy-file.ts';
import type { Backend, Batch, Tensor } from '../backend/backend.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { ints } from '../backend/reference/storage.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/model.ts';
import { createEngine, type EngineOptions } from './engine.ts';
import { uniform } from './random.ts';
import type { GenerateRequest, Usage } from './request.ts';

/** A decode step as the model saw it: for each of its rows, the token and its position. */
type SeenStep = readonly { readonly token: number; readonly position: number }[];

/** The model, its decode steps noted down. */
function watched(model: Model, steps: SeenStep[]): Model {
  return {
    ...model,
    prepare(...args) {
      const forward = model.prepare(...args);
      const noting = (backend: Backend, batch: Batch) => {
        const at = (tensor: Tensor, row: number) => ints(tensor).data[row]!;
        if (batch.decodeRows > 0) {
          steps.push(
            Array.from({ length: batch.decodeRows }, (_, row) => ({
              token: at(batch.tokens, row),
              position: at(batch.positions, row),
            })),
          );
        }
        return forward(backend, batch);
      };
      return Object.assign(noting, forward);
    },
  };
}

interface Answer {
  readonly ids: number[];
  readonly tokens: unknown[];
  readonly usage: Usage;
}

let asked = 0;

async function answers(
  backend: Backend,
  model: Model,
  options: EngineOptions,
  requests: readonly Partial<GenerateRequest>[],
): Promise<Answer[]> {
  await using engine = createEngine(backend, model, options);
  return await Promise.all(
    requests.map(async (more) => {
      const tokens: unknown[] = [];
      const ids: number[] = [];
      for await (const event of engine.generate({
        requestId: `request ${++asked}`,
        promptIds: Int32Array.of(1, 2, 3),
        maxTokens: 32,
        sampling: { temperature: 0 },
        endIds: [],
        ...more,
      })) {
        if (event.type === 'token') {
          tokens.push(event);
          ids.push(event.id);
        }
        if (event.type === 'end') return { ids, tokens, usage: event.usage };
      }
      throw new Error('no end');
    }),
  );
}

/** No text with these has the same three tokens twice, so that nothing but the predictor drafts. */
const unlike = (seed: number) => ({ temperature: 1, seed, frequencyPenalty: 2, presencePenalty: 2 });
const LIMITS: EngineOptions = { contextTokens: 128, maxSequences: 4, maxRows: 32 };
const promptIds = (length: number, seed: number) =>
  Int32Array.from({ length }, (_, i) => Math.floor(uniform(seed, i) * 96));

describe('a predictor that agrees', () => {
  test.each(['always', 'half', 'never'] as const)(
    '%s: greedy and drawn answers are those without drafts, bit for bit',
    async (kind) => {
      await using backend = createReferenceBackend();
      const steps: SeenStep[] = [];
      const model = watched(await loadModel(predictingToy(kind), backend), steps);
      const requests = [1, 2].flatMap((seed) => [
        { promptIds: promptIds(20 + seed, seed), sampling: unlike(seed), topLogprobs: 2 },
        {
          promptIds: promptIds(9 + seed, seed),
          sampling: { temperature: 0, frequencyPenalty: 2, presencePenalty: 2 },
        },
      ]);
      const tally = { full: 0, partial: 0, none: 0, drafted: 0, accepted: 0 };
      for (const request of requests) {
        const [plain] = await answers(backend, model, { ...LIMITS, drafting: 'off' }, [request]);
        steps.length = 0;
        const [drafted] = await answers(backend, model, { ...LIMITS, drafting: { depth: 3 } }, [request]);
        expect(drafted!.tokens).toEqual(plain!.tokens);
        expect(plain!.usage.drafts).toBeUndefined();
        for (const [i, step] of steps.slice(0, -1).entries()) {
          // A step's rows are the newest token and its drafts; the next one begins after those that were right.
          const accepted = steps[i + 1]![0]!.position - step[0]!.position - 1;
          if (step.length > 1 && accepted === step.length - 1) tally.full++;
          else if (accepted > 0) tally.partial++;
          else tally.none++;
        }
        tally.drafted += drafted!.usage.drafts!.drafted;
        tally.accepted += drafted!.usage.drafts!.accepted;
      }
      const share = tally.accepted / tally.drafted;
      if (kind === 'always') {
        // All but those beyond the last token.
        expect(tally).toMatchObject({ partial: 0, none: 0 });
        expect(share).toBeGreaterThan(0.9);
      } else if (kind === 'never') {
        // One random number may choose a token by any logits.
        expect(tally).toMatchObject({ full: 0 });
        expect(share).toBeLessThan(0.02);
        expect(tally.none).toBeGreaterThan(100);
      } else {
        expect(Math.min(tally.full, tally.partial, tally.none)).toBeGreaterThan(5);
        expect(Math.abs(share - 0.5)).toBeLessThan(0.3);
      }
    },
  );

  test('never is given up where depth goes by gain, and taken up again by the next answer', async () => {
    await using backend = createReferenceBackend();
    const model = await loadModel(predictingToy('never'), backend);
    await using engine = createEngine(backend, model, { ...LIMITS, contextTokens: 512 });
    const drafted: number[] = [];
    for (const seed of [1, 2]) {
      const request = { promptIds: promptIds(12, seed), sampling: unlike(seed), maxTokens: 110 };
      for await (const event of engine.generate({ requestId: `${seed}`, endIds: [], ...request })) {
        if (event.type === 'end') drafted.push(event.usage.drafts?.drafted ?? 0);
      }
    }
    expect(drafted[0]).toBeGreaterThan(0);
    // A fixed depth of 7 would have drafted some 700.
    expect(drafted[0]).toBeLessThan(200);
    expect(drafted[1]).toBeLessThan(100);
    // How deep is drafted depends on times, and the text's own guesses may be right once by chance.
    expect(engine.stats().drafts.accepted).toBeLessThan(3);
  });
});

describe('the cache of the predictor', () => {
  test('is rolled back: guesses after rejections are those after the same text as a prompt', async () => {
    await using backend = createReferenceBackend();
    // Its block attends to all that came before, so a row left over from a wrong guess would be seen.
    const model = await loadModel(toyGgufFile(PREDICTING), backend);
    const steps: SeenStep[] = [];
    const options: EngineOptions = { ...LIMITS, cacheDType: 'F32', drafting: { depth: 4 } };
    const request = { promptIds: promptIds(18, 5), sampling: unlike(5) };
    const [answer] = await answers(backend, watched(model, steps), options, [request]);
    const seen = steps.filter((step) => step.length > 1).slice(6, 20);
    expect(answer!.usage.drafts!.accepted).toBeLessThan(answer!.usage.drafts!.drafted);
    expect(seen.length).toBeGreaterThan(10);
    const text = [...request.promptIds, ...answer!.ids];
    let same = 0;
    for (const step of seen) {
      const again: SeenStep[] = [];
      const prompt = Int32Array.from(text.slice(0, step[0]!.position));
      // The same random numbers: the first token is forced, the drafts after it draw those of the first answer.
      await answers(backend, watched(model, again), options, [
        {
          promptIds: prompt,
          maxTokens: 2,
          sampling: { temperature: 0, logitBias: [[step[0]!.token, 1000]] },
        },
      ]);
      expect(again[0]![0]).toEqual(step[0]);
      if (again[0]!.length > 1) same++;
    }
    expect(same).toBe(seen.length);
  });
});

describe('in a crowd', () => {
  test('short of pages, shared beginnings, n-grams and predictor together: the answers without drafts', async () => {
    await using backend = createReferenceBackend();
    const model = await loadModel(toyGgufFile(PREDICTING), backend);
    const three = [5, 6, 7].map((id) => [id, 60] as const);
    const begin = Array.from(promptIds(34, 1));
    const requests: readonly Partial<GenerateRequest>[] = [
      { promptIds: Int32Array.from([...begin, 4, 9]), topLogprobs: 2 },
      { promptIds: Int32Array.from([...begin, 11]), sampling: { temperature: 0.8, seed: 2 } },
      { promptIds: promptIds(30, 3), sampling: { temperature: 0.7, seed: 3, logitBias: three } },
      { promptIds: promptIds(21, 4), sampling: unlike(4) },
    ];
    const plain = await answers(backend, model, { ...LIMITS, cacheTokens: 512, drafting: 'off' }, requests);
    for (const [cacheTokens, drafting] of [
      [512, { depth: 2 }],
      [160, { depth: 5 }],
      [512, 'auto'],
    ] as const) {
      const got = await answers(backend, model, { ...LIMITS, cacheTokens, drafting }, requests);
      expect(got.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
    }
  });
});
