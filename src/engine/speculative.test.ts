import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { toyGgufFile } from '../../test/fixtures/toy-file.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import type { Backend, Batch } from '../backend/backend.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { ints } from '../backend/reference/storage.ts';
import { loadModel } from '../model/load.ts';
import type { Model } from '../model/model.ts';
import type { ConstraintMaker } from './constraint.ts';
import { DraftDepth, StepCost } from './draft-depth.ts';
import { createEngine, type EngineOptions } from './engine.ts';
import { NgramDrafter } from './ngram-drafter.ts';
import { uniform } from './random.ts';
import type { GenerateRequest, Usage } from './request.ts';
import { candidates, Sampler } from './sampler.ts';
import { type Consumer, Sequence } from './sequence.ts';
import { type Drafting, Speculator, verifyDraft } from './speculative.ts';

const VOCAB = 64;

/** A model without weights: the logits after a token are `logits(token, position)`. */
function tableModel(backend: Backend, logits: (token: number, position: number) => Float32Array): Model {
  return {
    architecture: 'table',
    vocabSize: VOCAB,
    contextTokens: 4096,
    layers: 1,
    streams: [],
    predictorStreams: [],
    weightBytes: 0,
    multiplyAddsPerToken: 0,
    prepare(_stores, _maxRows, maxOutputs) {
      const out = backend.tensor('F32', maxOutputs, VOCAB);
      const run = (_on: Backend, { tokens, positions, outputs, outputSpan }: Batch) => {
        const all = new Float32Array(outputSpan.rows * VOCAB);
        for (let i = 0; i < outputSpan.rows; i++) {
          const row = ints(outputs).data[i]!;
          all.set(logits(ints(tokens).data[row]!, ints(positions).data[row]!), i * VOCAB);
        }
        if (outputSpan.rows > 0) backend.write(out, all);
        return out;
      };
      const missing = () => {
        throw new Error('this model has neither hidden states nor a head');
      };
      return Object.assign(run, { states: missing, head: missing });
    },
  };
}

const oneHot = (id: number) => Float32Array.from({ length: VOCAB }, (_, i) => (i === id ? 9 : 0));

interface Answer {
  readonly tokens: unknown[];
  readonly ids: number[];
  readonly usage: Usage;
  readonly steps: number;
}

let lastId = 0;

async function answers(
  backend: Backend,
  model: Model,
  options: EngineOptions,
  requests: readonly Partial<GenerateRequest>[],
): Promise<Answer[]> {
  await using engine = createEngine(backend, model, options);
  // Awaited here: the engine is closed on return.
  return await Promise.all(
    requests.map(async (more) => {
      const tokens: unknown[] = [];
      const ids: number[] = [];
      for await (const event of engine.generate({
        requestId: `request ${++lastId}`,
        promptIds: Int32Array.of(1, 2, 3),
        maxTokens: 60,
        sampling: { temperature: 0 },
        endIds: [],
        ...more,
      })) {
        if (event.type === 'token') {
          tokens.push(event);
          ids.push(event.id);
        }
        if (event.type === 'end') return { tokens, ids, usage: event.usage, steps: engine.stats().steps };
      }
      throw new Error('no end');
    }),
  );
}

const DEPTH_4: Drafting = { depth: 4 };

describe('n-grams', () => {
  test('go on as the text did after the longest ending that came before, the last time', () => {
    const ids = [1, 2, 3, 9, 8, 7, 1, 2, 3];
    expect(new NgramDrafter().draft(ids, 2)).toEqual([9, 8]);
    expect(new NgramDrafter().draft([...ids, 5, 0, 1, 2, 3], 9)).toEqual([5, 0, 1, 2, 3]);
    // 7 8 1 2 3 4 ... the longer ending was followed by 5, the shorter one later by 6.
    expect(new NgramDrafter().draft([0, 1, 2, 3, 5, 9, 1, 2, 3, 6, 9, 0, 1, 2, 3], 1)).toEqual([5]);
    expect(new NgramDrafter().draft([1, 2, 3, 4, 5, 6], 4)).toEqual([]);
    expect(new NgramDrafter().draft([], 4)).toEqual([]);
  });

  test('taught token by token is taught at once', () => {
    const property = fc.property(fc.array(fc.nat(3), { maxLength: 60 }), fc.nat(8), (ids, most) => {
      const growing = new NgramDrafter();
      for (let n = 0; n < ids.length; n++) growing.draft(ids.slice(0, n), most);
      expect(growing.draft(ids, most)).toEqual(new NgramDrafter().draft(ids, most));
    });
    fc.assert(property, { numRuns: 100, seed: 3 });
  });
});

describe('the depth', () => {
  const taught = (right: number, perRow: number, perStep = 10) => {
    const cost = new StepCost();
    const depth = new DraftDepth(7, cost);
    for (let i = 0; i < 200; i++) {
      cost.add(1 + (i % 8), perStep + perRow * (1 + (i % 8)));
      depth.verified(7, right);
    }
    return depth;
  };

  test('is the most where rows cost little and drafts are right', () => {
    expect(taught(7, 0.1).choose(1)).toBe(7);
  });

  test('is as much as is right', () => {
    expect(taught(3, 0.5).choose(1)).toBe(3);
  });

  test('is none where drafts are wrong, or a row costs as much as a step, but for a rare try', () => {
    for (const depth of [taught(0, 0.5), taught(1, 100, 0)]) {
      const chosen = Array.from({ length: 64 }, () => depth.choose(1));
      expect(chosen.filter((n) => n > 0)).toEqual([2, 2]);
    }
  });
});

describe('the predictor of an engine', () => {
  /** Choices until it gives the answer up, where a row costs as much as a step and the predictor is right or not. */
  function lapsesAfter(speculator: Speculator, right: boolean): number {
    const consumer = { wanted: 'argmax' } as Consumer;
    const sequence = new Sequence('one', [1, 2, 3], 2, consumer);
    sequence.doneTokens = 2;
    for (let choices = 1; choices < 500; choices++) {
      speculator.draft([sequence], 4096);
      const drafted = speculator.wanted(sequence, 4096);
      if (sequence.lapsed) return choices;
      sequence.draftedBy = 'predictor';
      speculator.verified(sequence, drafted, right ? drafted : 0);
      const rows = 1 + drafted;
      const tokens = new Map([[sequence, right ? rows : 1]]);
      speculator.stepped({ ms: right ? 10 + rows : 10 * rows, rows, tokens });
    }
    return Number.POSITIVE_INFINITY;
  }

  test('gives answers up the sooner the more often it was of no use, and none while it is', () => {
    const speculator = new Speculator('auto');
    const [first = 0, ...others] = Array.from({ length: 6 }, () => lapsesAfter(speculator, false));
    expect(first).toBeGreaterThan(64);
    expect(others.slice(0, 3)).toEqual([33, 17, 9].map((n) => expect.closeTo(n, -1)));
    expect(others.at(-1)).toBeLessThan(12);
    expect(lapsesAfter(new Speculator('auto'), true)).toBe(Number.POSITIVE_INFINITY);
  });

  test('is patient again once a guess was right', () => {
    const speculator = new Speculator('auto');
    for (let answers = 0; answers < 6; answers++) lapsesAfter(speculator, false);
    const again = Array.from({ length: 40 }, () => lapsesAfter(speculator, true));
    expect(again[0]).toBeLessThan(12);
    expect(again.at(-1)).toBe(Number.POSITIVE_INFINITY);
  });
});

/** Toys whose drafts are right always, now and then, and never; what follows a token, by its position. */
const TOYS: Readonly<Record<string, (token: number, position: number) => number>> = {
  always: (token) => (token + 1) % 8,
  sometimes: (token, position) => (position % 7 === 6 ? (token + 4) % 8 : (token + 1) % 8),
  // 1, 2, 3 and another token each time: what came after 1, 2, 3 before never comes again.
  never: (_token, position) =>
    position % 4 === 2
      ? 4 + (Math.floor(position / 4) % 60)
      : (position % 4) + 2 - (position % 4 === 3 ? 4 : 0),
};

describe('verification', () => {
  test.each(Object.keys(TOYS))(
    'a toy whose drafts are right %s says what it says without drafts',
    async (name) => {
      await using backend = createReferenceBackend();
      const model = tableModel(backend, (token, position) => oneHot(TOYS[name]!(token, position)));
      const [plain] = await answers(backend, model, { drafting: 'off' }, [{}]);
      const [drafted] = await answers(backend, model, { drafting: DEPTH_4 }, [{}]);
      expect(drafted!.ids).toEqual(plain!.ids);
      expect(plain!.usage.drafts).toBeUndefined();
      const { drafted: guesses, accepted } = drafted!.usage.drafts!;
      expect(guesses).toBeGreaterThan(10);
      // Every token is one step's, or a guess that was right.
      expect(drafted!.steps + accepted).toBe(60);
      const share = accepted / guesses;
      if (name === 'always')
        // All but those after the last token.
        expect(guesses - accepted).toBeLessThan(4);
      else if (name === 'never') expect(share).toBe(0);
      else expect(Math.abs(share - 0.5)).toBeLessThan(0.3);
    },
  );

  test('accept, partial accept, rejection and the bonus token are reached', () => {
    const verify = (truth: number[]) =>
      verifyDraft(
        [5, 6, 7],
        (row) => truth[row],
        () => true,
      );
    expect(verify([5, 6, 7, 8])).toEqual({ chosen: [5, 6, 7, 8], accepted: 3, ended: false });
    expect(verify([5, 6, 9, 8])).toEqual({ chosen: [5, 6, 9], accepted: 2, ended: false });
    expect(verify([4, 6, 7, 8])).toEqual({ chosen: [4], accepted: 0, ended: false });
    expect(verify([5, 6])).toEqual({ chosen: [5, 6], accepted: 2, ended: true });
    expect(
      verifyDraft(
        [5, 6],
        () => 5,
        () => false,
      ),
    ).toEqual({ chosen: [5], accepted: 0, ended: false });
  });

  test('an answer that ends inside a draft ends there', async () => {
    await using backend = createReferenceBackend();
    const model = tableModel(backend, (token) => oneHot((token + 1) % 8));
    for (const more of [
      { maxTokens: 21 },
      { endIds: [7], promptIds: Int32Array.of(7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2) },
    ]) {
      const [plain] = await answers(backend, model, { drafting: 'off' }, [more]);
      const [drafted] = await answers(backend, model, { drafting: DEPTH_4 }, [more]);
      expect(drafted!.ids).toEqual(plain!.ids);
      expect(drafted!.usage.drafts!.accepted).toBeGreaterThan(0);
    }
    const [full] = await answers(backend, model, { drafting: DEPTH_4, contextTokens: 32 }, [
      { maxTokens: 99 },
    ]);
    expect(full!.ids).toHaveLength(29);
  });
});

describe('whole models', () => {
  const shapes: readonly ToyShape[] = JSON.parse(
    readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
  );
  const prompt = (length: number, period: number) =>
    Int32Array.from({ length }, (_, i) => ((i % period) * 37 + period) % 90);
  /** Three tokens only: what came after three of them comes again, or does not, about as often as not. */
  const three = [5, 6, 7].map((id) => [id, 60] as const);
  const requests: readonly Partial<GenerateRequest>[] = [
    { promptIds: prompt(40, 9), topLogprobs: 2 },
    { promptIds: prompt(30, 5), topLogprobs: 2, sampling: { temperature: 0.7, seed: 3, logitBias: three } },
    {
      promptIds: prompt(21, 7),
      sampling: { temperature: 1, seed: 9, repetitionPenalty: 1.1, logitBias: three },
    },
    { promptIds: prompt(35, 4), sampling: { temperature: 0 } },
  ];

  test.each(['llama-grouped-tied', 'deepseek-16b-like', 'v3-like', 'v32-like'])(
    '%s: bit for bit the answers without drafts, in a crowd, short of pages, every cache rolled back',
    async (name) => {
      await using backend = createReferenceBackend();
      const model = await loadModel(toyGgufFile(shapes.find((shape) => shape.name === name)!), backend);
      const limits = { contextTokens: 128, maxSequences: 4, maxRows: 32 };
      const wanted = requests.map((request) => ({ maxTokens: 30, ...request }));
      const plain = await answers(backend, model, { ...limits, cacheTokens: 512, drafting: 'off' }, wanted);
      for (const [cacheTokens, drafting] of [
        [512, DEPTH_4],
        [160, { depth: 7 }],
        [512, 'auto'],
      ] as const) {
        const got = await answers(backend, model, { ...limits, cacheTokens, drafting }, wanted);
        expect(got.map(({ tokens }) => tokens)).toEqual(plain.map(({ tokens }) => tokens));
        if (drafting !== 'auto') {
          expect(got.some(({ usage }) => (usage.drafts?.accepted ?? 0) > 0)).toBe(true);
          expect(got.some(({ usage }) => (usage.drafts?.accepted ?? 0) < (usage.drafts?.drafted ?? 0))).toBe(
            true,
          );
        }
      }
    },
  );
});

describe('distribution', () => {
  const DRAWS = 50_000;
  const SAMPLING = { temperature: 0.9 };
  /** Four kinds of rows, by the token before: taking a result from a wrong row is seen. */
  const rows = Array.from({ length: 4 }, (_, kind) =>
    Float32Array.from(
      { length: VOCAB },
      (_, id) => 3 * uniform(kind + 1, id) + (id % 4 === (kind + 1) % 4 ? 1.5 : 0),
    ),
  );
  type Rule = (
    drafted: readonly number[],
    choose: (row: number) => number,
    probability: (row: number, id: number) => number,
  ) => readonly number[];

  type Guess = (ids: readonly number[], sampler: Sampler) => readonly number[];

  /** p of a chi-square test of 50,000 drawn tokens, each by the kind of the token before it. */
  function pOf(rule: Rule, guess: Guess = likeliest): number {
    const counts = rows.map(() => new Float64Array(VOCAB));
    const exact = rows.map((row) => {
      const { weights } = candidates(row.slice(), SAMPLING);
      const sum = weights.reduce((a, b) => a + b, 0);
      return weights.map((w) => w / sum);
    });
    const ids = [1, 2, 3];
    const sampler = new Sampler(SAMPLING, ids, 11);
    let drafts = 0;
    for (let drawn = 0; drawn < DRAWS; ) {
      const drafted = guess(ids, sampler);
      const kindBefore = (row: number) => (row === 0 ? ids.at(-1)! : drafted[row - 1]!) % 4;
      const chosen = rule(
        drafted,
        (row) => sampler.choose(rows[kindBefore(row)]!.slice()).id,
        (row, id) => exact[kindBefore(row)]![id]!,
      );
      for (const id of chosen) {
        const kind = ids.at(-1)! % 4;
        counts[kind]![id] = counts[kind]![id]! + 1;
        ids.push(id);
        drawn++;
      }
      drafts += drafted.length;
    }
    expect(drafts).toBeGreaterThan(DRAWS / 10);
    let chiSquare = 0;
    let cells = 0;
    counts.forEach((count, kind) => {
      const total = count.reduce((a, b) => a + b, 0);
      count.forEach((n, id) => {
        const expected = exact[kind]![id]! * total;
        chiSquare += (n - expected) ** 2 / expected;
      });
      cells += VOCAB - 1;
    });
    return upperTail(chiSquare, cells);
  }

  test('drawn tokens have the distribution of the model', () => {
    expect(pOf((drafted, choose) => verifyDraft(drafted, choose, () => true).chosen)).toBeGreaterThan(0.001);
  });

  test('a rule that takes a draft because it is likely does not pass', () => {
    const eager: Rule = (drafted, choose, probability) => {
      const taken = drafted.findIndex((id, row) => probability(row, id) < 0.04);
      const likely = drafted.slice(0, taken < 0 ? drafted.length : taken);
      return [...likely, choose(likely.length)];
    };
    expect(pOf(eager)).toBeLessThan(0.001);
  });

  test('nor does what a predictor guessed, drawn with the same numbers from a distribution of its own', () => {
    const right: Rule = (drafted, choose) => verifyDraft(drafted, choose, () => true).chosen;
    expect(pOf(right, predicted)).toBeGreaterThan(0.001);
    const trusting: Rule = (drafted, choose) => {
      const { chosen, accepted } = verifyDraft(drafted, choose, () => true);
      return accepted === 0 ? [drafted[0]!, ...chosen.slice(1)] : chosen;
    };
    expect(pOf(trusting, predicted)).toBeLessThan(0.001);
  });

  test('a rule that takes its token from the row before does not pass', () => {
    const late: Rule = (drafted, choose) => {
      return verifyDraft(
        drafted,
        (row) => choose(Math.max(0, row - 1)),
        () => true,
      ).chosen;
    };
    expect(pOf(late)).toBeLessThan(0.001);
  });

  /** The three likeliest tokens after this one, one after the other. */
  function likeliest(ids: readonly number[]): number[] {
    const drafted: number[] = [];
    for (let kind = ids.at(-1)! % 4; drafted.length < 3; kind = drafted.at(-1)! % 4) {
      const row = rows[kind]!;
      drafted.push(row.reduce((best, x, id) => (x > row[best]! ? id : best), 0));
    }
    return drafted;
  }

  /** Three tokens as the sampler would draw them from rows that are not quite those of the model. */
  function predicted(ids: readonly number[], sampler: Sampler): number[] {
    const drafted: number[] = [];
    while (drafted.length < 3) {
      const kind = (drafted.at(-1) ?? ids.at(-1)!) % 4;
      const near = rows[kind]!.map((x, id) => x + uniform(99 + kind, id));
      drafted.push(sampler.guess(near, drafted));
    }
    return drafted;
  }

  /** Wilson and Hilferty's approximation of the upper tail of chi-square. */
  function upperTail(chiSquare: number, freedom: number): number {
    const spread = 2 / (9 * freedom);
    const z = ((chiSquare / freedom) ** (1 / 3) - (1 - spread)) / Math.sqrt(spread);
    // Abramowitz and Stegun 26.2.17.
    const t = 1 / (1 + 0.2316419 * Math.abs(z));
    const tail =
      (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) *
      t *
      (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
    return z >= 0 ? tail : 1 - tail;
  }
});

describe('a constraint', () => {
  /** The next token of eight is likeliest, and the one after it where that is not allowed. */
  const countingInTwos = (token: number) =>
    Float32Array.from({ length: VOCAB }, (_, i) => (i < 8 ? ([0, 20, 18][(i - token + 8) % 8] ?? 0) : 0));
  /** From 5 on, odd tokens only; it is whole after `most` tokens. */
  const oddAfter5 = (most: number): ConstraintMaker => {
    return () => {
      let taken = 0;
      let armed = false;
      return {
        get armed() {
          return armed;
        },
        get done() {
          return taken === most;
        },
        mask(allowed) {
          allowed.fill(0xaaaaaaaa);
        },
        accept(id) {
          if (armed && id % 2 === 0) throw new Error(`${id} is not allowed`);
          taken++;
          armed ||= id === 5;
        },
      };
    };
  };

  test.each([0, 0.9])('holds for tokens that were drafted too, at temperature %s', async (temperature) => {
    await using backend = createReferenceBackend();
    const model = tableModel(backend, countingInTwos);
    const request = { constraint: {}, sampling: { temperature, seed: 3 } };
    const held = (drafting: Drafting) =>
      answers(backend, model, { drafting, constraints: oddAfter5(40) }, [request]);
    const [plain] = await held('off');
    const [drafted] = await held(DEPTH_4);
    expect(drafted!.tokens).toEqual(plain!.tokens);
    expect(plain!.ids).toHaveLength(40);
    expect(plain!.ids.slice(plain!.ids.indexOf(5) + 1).filter((id) => id % 2 === 0)).toEqual([]);
    expect(drafted!.usage.drafts!.drafted).toBeGreaterThan(10);
  });

  test('that leaves no token ends the request with a sentence, and no other', async () => {
    await using backend = createReferenceBackend();
    const model = tableModel(backend, countingInTwos);
    const begun = { constraint: {}, promptIds: Int32Array.of(4), sampling: { temperature: 0 } };
    const none: ConstraintMaker = () => ({ armed: true, done: false, mask() {}, accept() {} });
    await expect(answers(backend, model, { constraints: none }, [begun])).rejects.toMatchObject({
      code: 'constraint-stuck',
    });
    await expect(answers(backend, model, {}, [begun])).rejects.toMatchObject({
      code: 'constraint-unsupported',
    });
  });
});
