import { expect, test } from 'vitest';
import type { Backend } from '../backend/backend.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import type { DTypeName } from '../dtypes/dtype.ts';
import { bytesSource } from '../formats/byte-source.ts';
import type { ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import { loadWeights } from './load-weights.ts';
import { heldBytes, type Part, type TensorPlan } from './weights.ts';

const BLOCK = { rows: 128, cols: 128 };

interface Asked {
  readonly source: string;
  readonly wanted: readonly string[];
  readonly apart: readonly string[];
}

/** A backend that says what it was asked to load, and what of that it was asked to keep apart. */
function recording(): { readonly backend: Backend; readonly asked: Asked[] } {
  const reference = createReferenceBackend();
  const asked: Asked[] = [];
  const load: Backend['load'] = (source, tensors, onProgress, apart = new Set()) => {
    const wanted = tensors.map(({ name }) => name);
    asked.push({ source: source.name, wanted, apart: wanted.filter((name) => apart.has(name)) });
    return reference.load(source, tensors, onProgress, apart);
  };
  return { backend: { ...reference, load }, asked };
}

function tensor(name: string, dtype: DTypeName, shape: readonly number[], source = 0): TensorInfo {
  const numbers = shape.reduce((product, n) => product * n, 1);
  return { name, dtype, shape, source, offset: 0, bytes: dtype === 'F32' ? numbers * 4 : numbers };
}

/** A matrix [256, 3]: 3,072 bytes of F32 in a file, or 768 of FP8 in a folder with 8 bytes of scales. */
function plan(name: string, part: Part, { source = 0, inFolder = '' } = {}): TensorPlan {
  const spec = { name, part, shape: [256, 3] };
  if (inFolder === '') return { spec, tensors: [tensor(name, 'F32', spec.shape, source)] };
  return {
    spec,
    tensors: [tensor(inFolder, 'F8_E4M3', spec.shape, source)],
    scales: [tensor(`${inFolder}_scale_inv`, 'F32', [2, 1], source)],
    scaleBlock: BLOCK,
  };
}

async function askedFor(plans: readonly TensorPlan[], shards = 1): Promise<Asked[]> {
  const infos = plans.flatMap(({ tensors, scales = [] }) => [...tensors, ...scales]);
  const file: ModelFile = {
    format: 'gguf',
    metadata: new Map(),
    sources: Array.from({ length: shards }, (_, i) => bytesSource(new Uint8Array(4096), `shard ${i}`)),
    tensors: new Map(infos.map((info) => [info.name, info])),
  };
  const { backend, asked } = recording();
  const weights = await loadWeights(file, backend, plans);
  expect([...weights.keys()]).toEqual(plans.map(({ spec }) => spec.name));
  return asked;
}

const embedding = 'token_embd.weight';
const head = 'output.weight';
const layer = plan('blk.0.ffn_up.weight', 'feed-forward');

test('an embedding that is the output matrix as well is held with the rest', async () => {
  const plans = [plan(embedding, 'embedding'), layer];
  expect(await askedFor(plans)).toEqual([
    { source: 'shard 0', wanted: [embedding, 'blk.0.ffn_up.weight'], apart: [] },
  ]);
  expect(heldBytes(plans)).toBe(2 * 3072);
});

test('an embedding with an output matrix beside it is kept apart, and nothing else', async () => {
  const plans = [plan(embedding, 'embedding'), layer, plan(head, 'output')];
  const [asked] = await askedFor(plans);
  expect(asked?.wanted).toHaveLength(3);
  expect(asked?.apart).toEqual([embedding]);
  expect(heldBytes(plans)).toBe(2 * 3072);
});

test('of an embedding with scales the scales are held', async () => {
  const plans = [
    plan(embedding, 'embedding', { inFolder: 'model.embed_tokens.weight' }),
    plan(head, 'output', { inFolder: 'lm_head.weight' }),
  ];
  const [asked] = await askedFor(plans);
  expect(asked?.wanted).toContain('model.embed_tokens.weight_scale_inv');
  expect(asked?.apart).toEqual(['model.embed_tokens.weight']);
  expect(heldBytes(plans)).toBe(8 + 768 + 8);
});

test('the output matrix counts in whatever shard it is', async () => {
  const plans = [plan(embedding, 'embedding', { source: 1 }), layer, plan(head, 'output', { source: 2 })];
  expect((await askedFor(plans, 3)).map(({ source, apart }) => [source, apart])).toEqual([
    ['shard 0', []],
    ['shard 1', [embedding]],
    ['shard 2', []],
  ]);
});
