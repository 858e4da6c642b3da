/** Owns: tests of writing models in fewer bits: bytes, kills, refusals. Refuses to know: the command line. */
import {
  existsSync,
  linkSync,
  readdirSync,
  readFileSync,
  renameSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { toyGguf } from '../../test/fixtures/toy-model.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import { dtype } from '../dtypes/table.ts';
import { closeModelFile, openModelFile, openWholeModel } from '../formats/open.node.ts';
import { describeModel } from '../model/load.ts';
import { collectImatrix } from './collect-imatrix.node.ts';
import type { FileTypeName } from './file-types.ts';
import { quantizeFile } from './quantize.node.ts';
import { parseRecipe } from './recipe.ts';

const SHAPE: ToyShape = {
  name: 'wide',
  architecture: 'deepseek',
  seed: 5,
  layers: 3,
  hidden: 256,
  vocab: 0,
  contextTokens: 64,
  normEps: 1e-6,
  feedForward: 256,
  ropeBase: 10_000,
  tied: false,
  tokens: 8,
  attention: { kind: 'grouped', heads: 4, kvHeads: 4, headDim: 64 },
  experts: {
    experts: 4,
    used: 2,
    shared: 1,
    inter: 96,
    leadingDense: 1,
    scoring: 'softmax',
    groups: 1,
    groupsUsed: 1,
    normalise: false,
    scale: 1,
  },
};

let folder: string;
let from: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-quantize-'));
  from = join(folder, 'toy-bf16.gguf');
  writeFileSync(from, toyGguf(SHAPE, { weights: 'BF16' }));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** What is in a file or its shards is what is in a whole one. */
async function expectSameTensors(path: string, whole: Buffer): Promise<void> {
  const [made, one] = [await openWholeModel(path), await openModelFile(join(folder, 'whole.gguf'))];
  try {
    expect([...made.tensors.keys()]).toEqual([...one.tensors.keys()]);
    for (const [name, { source, offset, bytes }] of made.tensors) {
      const other = one.tensors.get(name)!;
      const expected = whole.subarray(other.offset, other.offset + bytes);
      expect(Buffer.compare(await made.sources[source]!.read(offset, bytes), expected), name).toBe(0);
    }
  } finally {
    await closeModelFile(made);
    await closeModelFile(one);
  }
}

const request = (out: string, fileType: FileTypeName = 'Q8_0') => ({
  path: from,
  out: join(folder, out),
  fileType,
});

test('every tensor holds what its encoder makes of the original, and the rest is kept', async () => {
  const { plan, bytes } = await quantizeFile(request('q.gguf', 'Q4_K_M'));
  const before = await openModelFile(from);
  const after = await openModelFile(join(folder, 'q.gguf'));
  try {
    expect(after.sources[0]!.size).toBe(bytes);
    expect(describeModel(after)).toMatchObject({ architecture: 'deepseek', contextTokens: 64 });
    expect(after.metadata.get('general.file_type')).toBe(15);
    expect(after.metadata.get('tokenizer.ggml.tokens')).toEqual(before.metadata.get('tokenizer.ggml.tokens'));
    expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
    for (const { name, chosen } of plan.tensors) {
      const old = before.tensors.get(name)!;
      const made = after.tensors.get(name)!;
      expect([name, made.dtype]).toEqual([name, chosen.type]);
      const values = new Float32Array(old.shape.reduce((a, b) => a * b, 1));
      dtype(old.dtype).decode!(
        await before.sources[0]!.read(old.offset, old.bytes),
        0,
        values,
        0,
        values.length,
      );
      const expected = new Uint8Array(made.bytes);
      dtype(made.dtype).encode!(values, 0, expected, 0, values.length);
      const found = await after.sources[0]!.read(made.offset, made.bytes);
      expect(Buffer.compare(found, expected), name).toBe(0);
    }
    const types = new Map(plan.tensors.map(({ name, chosen }) => [name, chosen]));
    expect(types.get('blk.1.ffn_down_exps.weight')).toEqual({ type: 'Q5_0', insteadOf: 'Q4_K' });
    expect(types.get('output.weight')).toEqual({ type: 'Q6_K' });
  } finally {
    await closeModelFile(before);
    await closeModelFile(after);
  }
});

test('goes on after an interruption at any tensor, to the same bytes', async () => {
  await quantizeFile(request('whole.gguf'));
  const whole = readFileSync(join(folder, 'whole.gguf'));
  const out = join(folder, 'part.gguf');
  for (const most of [1, 7, 20]) {
    const controller = new AbortController();
    let seen = 0;
    const onProgress = () => {
      if (++seen === most) controller.abort(new Error('stopped'));
    };
    const stopped = quantizeFile(request('part.gguf'), { signal: controller.signal, onProgress });
    await expect(stopped).rejects.toThrow('stopped');
    expect(existsSync(out)).toBe(false);
    expect(existsSync(`${out}.part`)).toBe(true);
  }
  await quantizeFile(request('part.gguf'));
  expect(Buffer.compare(readFileSync(out), whole)).toBe(0);
  expect(existsSync(`${out}.part`) || existsSync(`${out}.part.json`)).toBe(false);
});

test('a part that is gone or too short is begun anew, whatever the journal says of it', async () => {
  await quantizeFile(request('whole.gguf'));
  const whole = readFileSync(join(folder, 'whole.gguf'));
  const out = join(folder, 'q.gguf');
  for (const spoil of [unlinkSync, (path: string) => truncateSync(path, 100)]) {
    const controller = new AbortController();
    let seen = 0;
    const onProgress = () => {
      if (++seen === 20) controller.abort(new Error('stopped'));
    };
    // Shards make the journal say so after each.
    const options = { shardBytes: 100_000, force: true };
    const stopped = quantizeFile(request('q.gguf'), { ...options, signal: controller.signal, onProgress });
    await expect(stopped).rejects.toThrow('stopped');
    const { tensors } = JSON.parse(readFileSync(`${out}.part.json`, 'utf8'));
    expect(tensors).toBeGreaterThan(0);
    spoil(join(folder, readdirSync(folder).find((name) => /-00001-.*part$/.test(name))!));
    const { paths, resumedTensors } = await quantizeFile(request('q.gguf'), options);
    expect(resumedTensors).toBe(0);
    await expectSameTensors(paths[0]!, whole);
  }
});

test('a kill between the renames of two shards loses nothing', async () => {
  await quantizeFile(request('whole.gguf'));
  const whole = readFileSync(join(folder, 'whole.gguf'));
  const onProgress = (_done: number, _total: number, tensor: string) => {
    if (tensor === 'output.weight') throw new Error('stopped after the last');
  };
  const options = { shardBytes: 300_000 };
  await expect(quantizeFile(request('s.gguf'), { ...options, onProgress })).rejects.toThrow('the last');
  const first = join(folder, readdirSync(folder).find((name) => /^s-00001-.*part$/.test(name))!);
  renameSync(first, first.slice(0, -'.part'.length));
  const { paths } = await quantizeFile(request('s.gguf'), options);
  await expectSameTensors(paths[0]!, whole);
  expect(readdirSync(folder).filter((name) => name.includes('.part'))).toEqual([]);
});

test('a file that appears meanwhile is not replaced', async () => {
  const out = join(folder, 'q.gguf');
  const onProgress = () => writeFileSync(out, 'of somebody else');
  await expect(quantizeFile(request('q.gguf'), { onProgress })).rejects.toMatchObject({
    code: 'output-exists',
  });
  expect(readFileSync(out, 'utf8')).toBe('of somebody else');
  const { resumedTensors, plan } = await quantizeFile(request('q.gguf'), { force: true });
  expect(resumedTensors).toBe(plan.tensors.length);
  await closeModelFile(await openModelFile(out));
});

test('what is read is not replaced, not even when asked to', async () => {
  const before = readFileSync(from);
  await expect(quantizeFile({ ...request('q.gguf'), out: from }, { force: true })).rejects.toMatchObject({
    code: 'output-is-input',
  });
  linkSync(from, join(folder, 'same.gguf'));
  await expect(quantizeFile(request('same.gguf'), { force: true })).rejects.toMatchObject({
    code: 'output-is-input',
  });
  expect(Buffer.compare(readFileSync(from), before)).toBe(0);
});

test('two runs to one name do not mix', async () => {
  let second: Promise<unknown> | undefined;
  const onProgress = () => {
    second ??= quantizeFile(request('q.gguf', 'Q4_0')).catch((error) => error);
  };
  await quantizeFile(request('q.gguf'), { onProgress });
  expect(await second).toMatchObject({ code: 'output-busy' });
  const made = await openModelFile(join(folder, 'q.gguf'));
  expect(made.metadata.get('general.file_type')).toBe(7);
  await closeModelFile(made);
});

test('a part made from something else is begun anew', async () => {
  const out = join(folder, 'q.gguf');
  writeFileSync(`${out}.part`, 'left by another');
  writeFileSync(`${out}.part.json`, JSON.stringify({ identity: 'another', tensors: 5 }));
  const { resumedTensors } = await quantizeFile(request('q.gguf'));
  expect(resumedTensors).toBe(0);
  await closeModelFile(await openModelFile(out));
});

test('shards hold the same tensors as one file', async () => {
  const { paths } = await quantizeFile(request('s.gguf'), { shardBytes: 300_000 });
  expect(paths.length).toBeGreaterThan(2);
  await quantizeFile(request('one.gguf'));
  const many = await openModelFile(paths[1]!);
  const one = await openModelFile(join(folder, 'one.gguf'));
  try {
    expect([...many.tensors.keys()]).toEqual([...one.tensors.keys()]);
    for (const [name, { source, offset, bytes }] of many.tensors) {
      const other = one.tensors.get(name)!;
      const found = await many.sources[source]!.read(offset, bytes);
      expect(Buffer.compare(found, await one.sources[0]!.read(other.offset, other.bytes)), name).toBe(0);
    }
  } finally {
    await closeModelFile(many);
    await closeModelFile(one);
  }
});

test('a recipe comes before the mix', async () => {
  const { base, overrides } = parseRecipe(
    '{ "base": "q8_0", "tensors": [{ "pattern": "attn_q\\\\.weight", "type": "q4_0" }] }',
    'r.json',
  );
  const { plan } = await quantizeFile({ ...request('r.gguf'), fileType: base, overrides });
  const types = new Map(plan.tensors.map(({ name, chosen }) => [name, chosen.type]));
  expect(types.get('blk.0.attn_q.weight')).toBe('Q4_0');
  expect(types.get('blk.0.attn_k.weight')).toBe('Q8_0');
});

test('an importance matrix weighs every expert by its own columns, and what it does not say is named', async () => {
  const stack = 'blk.1.ffn_down_exps.weight';
  const [inter, experts] = [96, 4];
  // The first expert was never chosen.
  const counts = Float32Array.of(0, 4, 2, 8);
  const sums = Float32Array.from(
    { length: inter * experts },
    (_, i) => (i % 7) * counts[Math.floor(i / inter)]!,
  );
  const one = { sums: Float32Array.from({ length: 256 }, (_, i) => i % 5), counts: Float32Array.of(1) };
  const entries = new Map([
    [stack, { sums, counts }],
    ['blk.0.attn_q.weight', one],
  ]);
  const matrix = { datasets: ['text.txt'], chunks: 7, entries };
  const imatrix = { path: 'toy-imatrix.gguf', matrix };
  const { plan } = await quantizeFile({ ...request('w.gguf', 'Q4_K_M'), imatrix });
  expect(plan.withoutImportance).toContain('output.weight');
  expect(plan.withoutImportance).not.toContain(stack);
  expect(plan.withoutImportance).not.toContain('blk.1.ffn_gate_inp.weight');
  const [before, after] = [await openModelFile(from), await openModelFile(join(folder, 'w.gguf'))];
  try {
    const keys = [...after.metadata].filter(([key]) => key.startsWith('quantize.imatrix.'));
    expect(keys).toEqual([
      ['quantize.imatrix.file', 'toy-imatrix.gguf'],
      ['quantize.imatrix.dataset', 'text.txt'],
      ['quantize.imatrix.entries_count', 2],
      ['quantize.imatrix.chunks_count', 7],
    ]);
    const [old, made] = [before.tensors.get(stack)!, after.tensors.get(stack)!];
    const values = new Float32Array(old.bytes / 2);
    dtype('BF16').decode!(await before.sources[0]!.read(old.offset, old.bytes), 0, values, 0, values.length);
    const found = await after.sources[0]!.read(made.offset, made.bytes);
    const [numbers, bytes] = [values.length / experts, made.bytes / experts];
    for (let expert = 0; expert < experts; expert++) {
      const weights = Float32Array.from({ length: inter }, (_, i) =>
        expert === 0 ? 1 : (expert * inter + i) % 7,
      );
      const expected = new Uint8Array(bytes);
      dtype(made.dtype).encode!(values, expert * numbers, expected, 0, numbers, weights);
      expect(
        Buffer.compare(found.subarray(expert * bytes, (expert + 1) * bytes), expected),
        `${expert}`,
      ).toBe(0);
    }
  } finally {
    await closeModelFile(before);
    await closeModelFile(after);
  }
  await quantizeFile(request('plain.gguf', 'Q4_K_M'));
  expect(
    Buffer.compare(readFileSync(join(folder, 'plain.gguf')), readFileSync(join(folder, 'w.gguf'))),
  ).not.toBe(0);
});

test('the importance matrix of another model is refused', async () => {
  const entries = new Map([
    ['blk.0.attn_q.weight', { sums: new Float32Array(64), counts: Float32Array.of(1) }],
  ]);
  const imatrix = { path: 'other.gguf', matrix: { datasets: [], chunks: 1, entries } };
  await expect(quantizeFile({ ...request('m.gguf', 'Q4_K_M'), imatrix })).rejects.toMatchObject({
    code: 'imatrix-mismatch',
    message: expect.stringContaining('blk.0.attn_q.weight in other.gguf'),
  });
  expect(existsSync(join(folder, 'm.gguf'))).toBe(false);
});

test('types of two bits are made with an importance matrix alone', async () => {
  await expect(quantizeFile(request('two.gguf', 'IQ2_M'))).rejects.toMatchObject({
    code: 'imatrix-needed',
    message: expect.stringMatching(/blk\.\d+\.\S+ in IQ2_S.*hadal imatrix/),
  });
  expect(existsSync(join(folder, 'two.gguf'))).toBe(false);
  const source = await openModelFile(from);
  const entries = new Map(
    [...source.tensors.values()].map(({ name, shape }) => {
      const sums = Float32Array.from({ length: shape[0]! }, (_, i) => 1 + (i % 5));
      return [name, { sums, counts: Float32Array.of(1) }];
    }),
  );
  await closeModelFile(source);
  const imatrix = { path: 'toy.gguf', matrix: { datasets: [], chunks: 1, entries } };
  const { plan } = await quantizeFile({ ...request('two.gguf', 'IQ2_M'), imatrix });
  const types = new Set(plan.tensors.map(({ chosen }) => chosen.type));
  expect([types.has('IQ2_S'), types.has('IQ3_S')]).toEqual([true, true]);
  entries.delete('blk.0.attn_q.weight');
  await expect(quantizeFile({ ...request('again.gguf', 'IQ2_M'), imatrix })).rejects.toMatchObject({
    code: 'imatrix-needed',
  });
});

test('V3 is written in two bits with its draft block, by an importance matrix of its own', async () => {
  const latent = {
    kind: 'latent',
    heads: 4,
    qLora: 256,
    kvLora: 256,
    nopeDim: 64,
    ropeDim: 32,
    valueDim: 64,
  } as const;
  const experts = { ...SHAPE.experts!, inter: 256, scoring: 'sigmoid', normalise: true } as const;
  const v3: ToyShape = { ...SHAPE, architecture: 'deepseek2', attention: latent, experts, draftLayers: 1 };
  writeFileSync(from, toyGguf(v3, { weights: 'BF16' }));
  const text = 'A text about nothing, which the toy reads byte by byte. '.repeat(3);
  const matrix = await collectImatrix({ path: from, text, dataset: 'text', chunkTokens: 32 });
  const imatrix = { path: 'toy.gguf', matrix };
  const { plan } = await quantizeFile({ ...request('two.gguf', 'IQ2_XXS'), imatrix });
  expect(plan.withoutImportance).toEqual(['token_embd.weight', 'output.weight']);
  const types = new Map(plan.tensors.map(({ name, chosen }) => [name, chosen.type]));
  expect(types.get('blk.3.ffn_up_exps.weight')).toBe('IQ2_XXS');
  expect(types.get('blk.3.nextn.eh_proj.weight')).toBe('IQ2_XXS');
  await closeModelFile(await openWholeModel(join(folder, 'two.gguf')));
});

test.each([
  ['{', 'recipe-invalid'],
  ['{ "base": "Q4_K_M" }', 'recipe-invalid'],
  ['{ "base": "Q4_K_M", "tensors": [], "more": 1 }', 'recipe-invalid'],
  ['{ "base": "Q9", "tensors": [] }', 'file-type-unknown'],
  ['{ "base": "Q4_K_M", "tensors": [{ "pattern": "(", "type": "Q8_0" }] }', 'recipe-invalid'],
  ['{ "base": "Q4_K_M", "tensors": [{ "pattern": "a", "type": "IQ5_S" }] }', 'recipe-invalid'],
])('the recipe %s is refused', (text, code) => {
  expect(() => parseRecipe(text, 'r.json')).toThrow(expect.objectContaining({ code }));
});

test('nothing is overwritten without being asked to', async () => {
  const out = join(folder, 'there.gguf');
  writeFileSync(out, 'mine');
  await expect(quantizeFile(request('there.gguf'))).rejects.toMatchObject({ code: 'output-exists' });
  expect(readFileSync(out, 'utf8')).toBe('mine');
  await quantizeFile(request('there.gguf'), { force: true });
  await closeModelFile(await openModelFile(out));
});

test('what is quantized already is quantized again only on demand', async () => {
  await quantizeFile(request('q8.gguf'));
  const again = { path: join(folder, 'q8.gguf'), out: join(folder, 'q4.gguf'), fileType: 'Q4_0' as const };
  await expect(quantizeFile(again)).rejects.toMatchObject({ code: 'requantize' });
  await quantizeFile({ ...again, requantize: true });
});

test('numbers that are none are refused by the tensor’s name, and nothing is left under the final name', async () => {
  const bytes = toyGguf(SHAPE, {
    weights: 'BF16',
    change: (tensor) =>
      tensor.name === 'blk.1.attn_v.weight'
        ? { ...tensor, values: Float32Array.from(tensor.values, (x, i) => (i === 77 ? Number.NaN : x)) }
        : tensor,
  });
  writeFileSync(from, bytes);
  await expect(quantizeFile(request('nan.gguf'))).rejects.toMatchObject({
    code: 'tensor-not-finite',
    message: expect.stringContaining('blk.1.attn_v.weight'),
  });
  expect(existsSync(join(folder, 'nan.gguf'))).toBe(false);
});

test('numbers that are none late in a tensor, while what comes before is still at work, are a sentence too', async () => {
  const many: ToyShape = { ...SHAPE, feedForward: 12_288 };
  const bytes = toyGguf(many, {
    weights: 'BF16',
    change: (tensor) =>
      tensor.name === 'blk.0.ffn_up.weight'
        ? { ...tensor, values: tensor.values.map((x, i) => (i === (1 << 20) + 5 ? Number.NaN : x)) }
        : tensor,
  });
  writeFileSync(from, bytes);
  await expect(quantizeFile(request('nan.gguf', 'IQ3_S'), { threads: 2 })).rejects.toMatchObject({
    code: 'tensor-not-finite',
    message: expect.stringContaining('blk.0.ffn_up.weight'),
  });
});

test('a place that cannot be written to is a sentence', async () => {
  const out = join(folder, 'no such folder', 'q.gguf');
  await expect(quantizeFile({ ...request('x.gguf'), out })).rejects.toMatchObject({
    code: 'output-unwritable',
  });
});
