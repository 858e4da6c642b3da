/** Owns: grammars and drafts together: what a form allows is what is said, drafted ahead or not. */
import { expect, test } from 'vitest';
import { predictingToy } from '../../../test/fixtures/predicting-toy.ts';
import { TOY_VOCAB, toyMetadata } from '../../../test/fixtures/toy-model.ts';
import type { Backend } from '../../backend/backend.ts';
import { createReferenceBackend } from '../../backend/reference/reference.ts';
import { createEngine } from '../../engine/engine.ts';
import type { GenerateRequest, Usage } from '../../engine/request.ts';
import type { Drafting } from '../../engine/speculative.ts';
import { loadModel } from '../../model/load.ts';
import type { Model } from '../../model/model.ts';
import { tokenizerFromGguf } from '../../tokenizer/from-gguf.ts';
import { grammarConstraints } from './constraint.ts';
import { type AnswerGrammar, json } from './form.ts';

const tokenizer = tokenizerFromGguf(toyMetadata());
const END = [...tokenizer.endIds];
/** Much of it follows from the form, which n-grams find again; the words are the model's own, which its predictor knows. */
const schema = {
  type: 'array',
  minItems: 2,
  maxItems: 2,
  items: {
    type: 'object',
    properties: { word: { type: 'string', pattern: '^[a-z]{8}$' }, sure: { type: 'boolean' } },
    required: ['word', 'sure'],
    additionalProperties: false,
  },
};
const form: AnswerGrammar = { form: json(schema) };

interface Answer {
  readonly tokens: readonly unknown[];
  readonly text: string;
  readonly usage: Usage;
}

async function answer(
  backend: Backend,
  model: Model,
  drafting: Drafting,
  sampling: GenerateRequest['sampling'],
): Promise<Answer> {
  const constraints = grammarConstraints(() => tokenizer);
  await using engine = createEngine(backend, model, { contextTokens: 512, drafting, constraints });
  const tokens: unknown[] = [];
  const ids: number[] = [];
  for await (const event of engine.generate({
    requestId: 'one',
    promptIds: tokenizer.encode('hello world'),
    maxTokens: 400,
    endIds: END,
    topLogprobs: 2,
    constraint: form,
    sampling,
  })) {
    if (event.type === 'token') {
      tokens.push(event);
      ids.push(event.id);
    }
    if (event.type === 'end') return { tokens, text: tokenizer.decode(ids), usage: event.usage };
  }
  throw new Error('no end');
}

test.each([
  { temperature: 0 },
  { temperature: 1, seed: 1 },
  { temperature: 0.8, topK: 20, topP: 0.9, minP: 0.02, repetitionPenalty: 1.1, seed: 2 },
  { temperature: 1.5, presencePenalty: 1, frequencyPenalty: 0.5, seed: 3 },
])('under a schema, %j: token by token the answer without drafts', async (sampling) => {
  await using backend = createReferenceBackend();
  const model = await loadModel(predictingToy('half', { vocab: TOY_VOCAB }), backend);
  const plain = await answer(backend, model, 'off', sampling);
  const said = JSON.parse(plain.text) as { word: string; sure: boolean }[];
  expect(said).toHaveLength(2);
  for (const { word } of said) expect(word).toMatch(/^[a-z]{8}$/);
  for (const drafting of [{ depth: 1 }, { depth: 4 }, 'auto'] as const) {
    const { tokens, usage } = await answer(backend, model, drafting, sampling);
    expect(tokens).toEqual(plain.tokens);
    if (drafting === 'auto') continue;
    expect(usage.drafts!.accepted).toBeGreaterThan(0);
    expect(usage.drafts!.accepted).toBeLessThan(usage.drafts!.drafted);
  }
});

test('a predictor that knows the model is right more often than one that never is, in the same words', async () => {
  const answers = [];
  for (const agreement of ['always', 'never'] as const) {
    await using backend = createReferenceBackend();
    const model = await loadModel(predictingToy(agreement, { vocab: TOY_VOCAB }), backend);
    answers.push(await answer(backend, model, { depth: 2 }, { temperature: 1, seed: 1 }));
  }
  const [knowing, wrong] = answers;
  expect(knowing!.tokens).toEqual(wrong!.tokens);
  expect(knowing!.usage.drafts!.accepted).toBeGreaterThan(wrong!.usage.drafts!.accepted + 5);
});
