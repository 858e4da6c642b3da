/** Owns: tests of folders' tensors as GGUF has them, judged by toys laid out both ways. Refuses to know: files on disk. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fileInMemory, toyGgufFile, toyGgufTensors } from '../../test/fixtures/toy-file.ts';
import { type ToyShape, type ToyTensor, toyTensors } from '../../test/fixtures/toy-weights.ts';
import type { ModelConfig } from '../model/config.ts';
import { configFromGguf } from '../model/config-gguf.ts';
import { hfNames } from '../model/tensors-hf.ts';
import { encodeRows } from './encode-job.ts';
import { folderTensors } from './folder-tensors.ts';
import { configMetadata } from './gguf-metadata.ts';
import type { SourceTensor } from './pieces.ts';

const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
);

/** A toy's tensors under the folder's names, each expert by itself. */
function folderOf(shape: ToyShape, more: readonly ToyTensor[] = []) {
  const tensors = [...toyTensors(shape), ...more].flatMap((tensor): ToyTensor[] => {
    const [cols = 1, rows = 1, experts = 1] = tensor.shape;
    const names = hfNames(tensor.name, experts);
    if (names.length === 1) return [{ ...tensor, name: names[0]! }];
    return names.map((name, e) => ({
      name,
      shape: [cols, rows],
      values: tensor.values.slice(e * rows * cols, (e + 1) * rows * cols),
    }));
  });
  return fileInMemory('safetensors', new Map(), tensors, shape.name);
}

async function valuesOf(tensor: SourceTensor): Promise<Float32Array> {
  const chunks: Uint8Array[] = [];
  for (const piece of tensor.pieces()) chunks.push(encodeRows({ ...(await piece.read()), to: 'F32' }));
  const bytes = Buffer.concat(chunks);
  return new Float32Array(new Uint8Array(bytes).buffer);
}

/** Bit for bit; vitest's own comparison takes seconds for so many numbers. */
function same(a: Float32Array, b: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

/** The config as config.json would give it: what differs is only how GGUF files carry Llama 3's scaling. */
function configOf(shape: ToyShape): ModelConfig {
  const config = configFromGguf(toyGgufFile(shape));
  const {
    type,
    factor = 1,
    lowFreqFactor = 1,
    highFreqFactor = 4,
    originalTokens = 8192,
  } = shape.scaling ?? {};
  if (type !== 'llama3') return config;
  const scaling = { type, factor, lowFreqFactor, highFreqFactor, originalTokens } as const;
  return { ...config, rope: { ...config.rope, scaling } };
}

test.each(shapes)('$name: the same tensors as a converter writes', async (shape) => {
  const made = folderTensors(folderOf(shape), configOf(shape), undefined);
  const expected = new Map(toyGgufTensors(shape).map((tensor) => [tensor.name, tensor]));
  expect(made.map(({ name }) => name).sort()).toEqual([...expected.keys()].sort());
  for (const tensor of made) {
    const { shape: dims, values } = expected.get(tensor.name)!;
    expect([tensor.name, ...tensor.shape]).toEqual([tensor.name, ...dims]);
    const found = await valuesOf(tensor);
    if (tensor.name !== 'rope_freqs.weight') expect(same(found, values), tensor.name).toBe(true);
    else for (const [i, value] of found.entries()) expect(value).toBeCloseTo(values[i]!, 5);
  }
});

test.each(shapes)('$name: the keys say what the config says', (shape) => {
  const config = configFromGguf(toyGgufFile(shape));
  const metadata = new Map(
    configMetadata(config).map(([key, value]) => [
      key,
      typeof value === 'object' && 'type' in value ? value.value : value,
    ]),
  );
  const again = configFromGguf({ ...toyGgufFile(shape), metadata });
  const { name: _name, ...rest } = config;
  expect(again).toEqual(rest);
});

test('a draft block is kept', async () => {
  const shape = shapes.find(({ architecture, experts }) => architecture === 'deepseek2' && experts)!;
  const values = Float32Array.from({ length: 2 * shape.hidden * shape.hidden }, (_, i) => i);
  const more = [
    { name: `blk.${shape.layers}.nextn.eh_proj.weight`, shape: [2 * shape.hidden, shape.hidden], values },
  ];
  const made = folderTensors(folderOf(shape, more), configOf(shape), undefined);
  const draft = made.find(({ name }) => name === more[0]!.name)!;
  expect(same(await valuesOf(draft), values)).toBe(true);
  expect(made.indexOf(draft)).toBeGreaterThan(made.findIndex(({ name }) => name.startsWith('blk.0.')));
});

test('a tensor without a counterpart is refused by name', () => {
  const shape = shapes[0]!;
  const more = [{ name: 'model.layers.0.self_attn.sinks', shape: [4], values: new Float32Array(4) }];
  expect(() => folderTensors(folderOf(shape, more), configOf(shape), undefined)).toThrow(
    /self_attn\.sinks: expected one that this architecture has/,
  );
});
