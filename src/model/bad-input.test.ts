import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fileInMemory, toyGgufMetadata, toyGgufTensors } from '../../test/fixtures/toy-file.ts';
import type { ToyShape, ToyTensor } from '../../test/fixtures/toy-weights.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { createEngine } from '../engine/engine.ts';
import type { EngineEvent } from '../engine/request.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { describeModel, loadModel } from './load.ts';

const shapes = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];
const shapeNamed = (name: string) => shapes.find((shape) => shape.name === name)!;
const V3 = shapeNamed('v3-like');

/** What is done to a toy before it is opened. */
interface Damage {
  readonly metadata?: Readonly<Record<string, MetaValue | undefined>>;
  readonly tensors?: (tensors: readonly ToyTensor[]) => readonly ToyTensor[];
}

function damaged({ metadata = {}, tensors = (whole) => whole }: Damage, shape = V3) {
  const meta = toyGgufMetadata(shape);
  for (const [key, value] of Object.entries(metadata)) {
    if (value === undefined) meta.delete(key);
    else meta.set(key, value);
  }
  return fileInMemory('gguf', meta, tensors(toyGgufTensors(shape)), 'toy.gguf');
}

const without = (name: string) => (tensors: readonly ToyTensor[]) => tensors.filter((t) => t.name !== name);
const plus = (name: string, ...shape: number[]) => {
  const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
  return (tensors: readonly ToyTensor[]) => [...tensors, { name, shape, values }];
};
const spoilt = (name: string, at: number, value: number) => (tensors: readonly ToyTensor[]) =>
  tensors.map((tensor) => {
    if (tensor.name !== name) return tensor;
    const values = tensor.values.slice();
    values[at] = value;
    return { ...tensor, values };
  });

describe('files that contradict themselves are refused before anything is loaded', () => {
  const cases: readonly [string, Damage, string, RegExp][] = [
    [
      'an unknown architecture',
      { metadata: { 'general.architecture': 'mamba' } },
      'architecture-unknown',
      /one of llama, .*got mamba/,
    ],
    [
      'no hidden size',
      { metadata: { 'deepseek2.embedding_length': undefined } },
      'config-missing',
      /"deepseek2.embedding_length" of toy.gguf/,
    ],
    [
      'a hidden size that is text',
      { metadata: { 'deepseek2.embedding_length': 'wide' } },
      'config-invalid',
      /expected a number, got string wide/,
    ],
    [
      'another hidden size than the tensors',
      { metadata: { 'deepseek2.embedding_length': 96 } },
      'tensor-shape',
      /"token_embd.weight" of toy.gguf: expected \[96, 96\] .*got \[64, 96\]/,
    ],
    [
      'another number of experts than the tensors',
      { metadata: { 'deepseek2.expert_count': 24 } },
      'tensor-shape',
      /"blk.1.ffn_gate_inp.weight"/,
    ],
    [
      'more experts used than the groups hold',
      { metadata: { 'deepseek2.expert_used_count': 17 } },
      'config-contradiction',
      /number of experts used of toy.gguf: expected 1 to 16, got 17/,
    ],
    [
      'groups that do not divide the experts',
      { metadata: { 'deepseek2.expert_group_count': 5 } },
      'config-contradiction',
      /expert groups of toy.gguf: expected a divisor of the 32 experts/,
    ],
    [
      'more layers than memory could list',
      { metadata: { 'deepseek2.block_count': 2 ** 31 - 1 } },
      'config-contradiction',
      /number of layers of toy.gguf: expected 1 to 4096, got 2147483647/,
    ],
    [
      'more layers than tensors',
      { metadata: { 'deepseek2.block_count': 4 } },
      'tensor-missing',
      /"blk.3.attn_norm.weight" of toy.gguf/,
    ],
    [
      'fewer layers than tensors',
      { metadata: { 'deepseek2.block_count': 2 } },
      'tensor-unexpected',
      /"blk.2.attn_norm.weight" of toy.gguf: expected only tensors that a model of 2 layers/,
    ],
    [
      'a missing norm',
      { tensors: without('blk.1.attn_kv_a_norm.weight') },
      'tensor-missing',
      /"blk.1.attn_kv_a_norm.weight" of toy.gguf/,
    ],
    [
      'missing experts',
      { tensors: without('blk.2.ffn_down_exps.weight') },
      'tensor-missing',
      /"blk.2.ffn_down_exps.weight"/,
    ],
    [
      'a layer that is called a predicting block',
      { metadata: { 'deepseek2.nextn_predict_layers': 1 } },
      'tensor-unexpected',
      /"blk.2.attn_norm.weight" of toy.gguf: expected only tensors that a model of 2 layers/,
    ],
    [
      'a gate of sigmoids that lost its correction of choices everywhere',
      { tensors: (tensors) => tensors.filter(({ name }) => !name.endsWith('exp_probs_b.bias')) },
      'tensor-missing',
      /"blk.1.exp_probs_b.bias" of toy.gguf/,
    ],
    [
      'gates that lost what they are, and still have their correction of choices',
      { metadata: { 'deepseek2.expert_gating_func': undefined } },
      'config-missing',
      /"expert_gating_func" of toy.gguf: expected a number, for its gates correct their choice/,
    ],
    [
      'an endless rope scaling factor',
      { metadata: { 'deepseek2.rope.scaling.factor': Infinity } },
      'config-invalid',
      /"deepseek2.rope.scaling.factor" of toy.gguf: expected a number, got number Infinity/,
    ],
    [
      'no passage between fast and slow rotations',
      { metadata: { 'deepseek2.rope.scaling.yarn_beta_fast': 0 } },
      'config-contradiction',
      /beta_fast of rope scaling of toy.gguf: expected above the beta_slow, 1, got 0/,
    ],
    [
      'experts that weigh what is no number',
      { metadata: { 'deepseek2.expert_weights_scale': Number.NaN } },
      'config-invalid',
      /"deepseek2.expert_weights_scale" of toy.gguf: expected a number, got number NaN/,
    ],
    [
      'experts that weigh less than nothing',
      { metadata: { 'deepseek2.expert_weights_scale': -1 } },
      'config-contradiction',
      /scale of the experts' weights of toy.gguf: expected a number above 0, got -1/,
    ],
    [
      'a bias that the architecture has no place for',
      { tensors: plus('blk.0.attn_output.bias', 64) },
      'tensor-unexpected',
      /"blk.0.attn_output.bias" of toy.gguf/,
    ],
    [
      'a norm of heads, which latent attention does not have',
      { tensors: plus('blk.0.attn_q_norm.weight', 32) },
      'tensor-unexpected',
      /"blk.0.attn_q_norm.weight"/,
    ],
  ];
  test.each(cases)('%s', (_name, damage, code, sentence) => {
    const open = () => describeModel(damaged(damage));
    expect(open).toThrow(sentence);
    expect(open).toThrow(expect.objectContaining({ code }));
  });

  test('blocks of multi-token prediction that the config speaks of may be left out, or be more than are read', () => {
    const told = damaged({ metadata: { 'deepseek2.nextn_predict_layers': 1, 'deepseek2.block_count': 4 } });
    expect(describeModel(told).config).toMatchObject({ layers: 3, draftLayers: 1 });
    const two = damaged({}, { ...V3, draftLayers: 2 });
    expect(describeModel(two).config).toMatchObject({ layers: 3, draftLayers: 2 });
  });
});

describe('numbers that are none', () => {
  const atLoad: readonly [string, number][] = [
    ['output_norm.weight', Number.NaN],
    ['blk.1.attn_kv_a_norm.weight', Number.POSITIVE_INFINITY],
    ['blk.1.exp_probs_b.bias', Number.NaN],
    ['blk.2.ffn_gate_inp.weight', Number.NaN],
  ];
  test.each(atLoad)('%s: refused while loading', async (name, value) => {
    await using backend = createReferenceBackend();
    const file = damaged({ tensors: spoilt(name, 5, value) });
    await expect(loadModel(file, backend)).rejects.toMatchObject({
      code: 'nan-weights',
      message: expect.stringMatching(
        `tensor "${name}" of toy.gguf: expected finite numbers, got ${value} at index 5`,
      ),
    });
  });

  const inUse: readonly [string, string, number][] = [
    ['an embedding', 'token_embd.weight', 7 * 64],
    ['a row of the head', 'output.weight', 50 * 64],
    ['the latent projection', 'blk.0.attn_kv_a_mqa.weight', 3],
    ['half of kv_b', 'blk.1.attn_v_b.weight', 40],
    ['a shared expert', 'blk.1.ffn_down_shexp.weight', 9],
    ['the dense layer', 'blk.0.ffn_up.weight', 100],
  ];
  test.each(inUse)('in %s: the answer is refused in a sentence, greedy or drawn', async (_of, name, at) => {
    await using backend = createReferenceBackend();
    const model = await loadModel(damaged({ tensors: spoilt(name, at, Number.NaN) }), backend);
    await using engine = createEngine(backend, model, { contextTokens: 32 });
    for (const temperature of [0, 1]) {
      const events = engine.generate({
        requestId: `at ${temperature}`,
        promptIds: Int32Array.of(3, 7, 11),
        maxTokens: 4,
        sampling: { temperature, seed: 1 },
        endIds: [],
      });
      await expect(all(events)).rejects.toMatchObject({
        code: 'logits-broken',
        message: expect.stringContaining('the weights are damaged'),
      });
    }
    expect(engine.stats()).toMatchObject({ runningRequests: 0, pages: { used: 0 } });
  });
});

async function all(events: AsyncIterable<EngineEvent>): Promise<EngineEvent[]> {
  const list: EngineEvent[] = [];
  for await (const event of events) list.push(event);
  return list;
}
