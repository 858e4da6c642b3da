import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { HadalError } from '../../error.ts';
import { bytesSource } from '../byte-source.ts';
import { readSafetensors } from './read.ts';
import { joinShards, readIndex, shardSafetensors } from './shards.ts';
import { layOutSafetensors, writeSafetensors } from './write.ts';

const read = (bytes: Uint8Array, name = 'test.safetensors') => readSafetensors(bytesSource(bytes, name));
const data = (bytes: number, from = 0) => Uint8Array.from({ length: bytes }, (_, i) => from + i);
const tensors = [
  { name: 'scale', dtype: 'F8_E8M0', shape: [3], data: data(3) },
  { name: 'a "ß" 深', dtype: 'BF16', shape: [3, 2], data: data(12, 10) },
  { name: 'number', dtype: 'F64', shape: [], data: data(8, 40) },
  { name: 'none', dtype: 'I32', shape: [4, 0], data: data(0) },
  { name: 'w', dtype: 'F32', shape: [2, 1, 3], data: data(24, 60) },
] as const;
const small = () => writeSafetensors({ metadata: [['format', 'pt']], tensors });

test('what is written is read back, numbers aligned', async () => {
  const bytes = small();
  const file = await read(bytes);
  expect(file.format).toBe('safetensors');
  expect([...file.metadata]).toEqual([['format', 'pt']]);
  expect([...file.tensors.keys()].sort()).toEqual(tensors.map(({ name }) => name).sort());
  for (const { name, dtype, shape, data: expected } of tensors) {
    const tensor = file.tensors.get(name)!;
    expect(tensor).toMatchObject({ dtype, shape, source: 0, bytes: expected.length });
    expect(bytes.subarray(tensor.offset, tensor.offset + tensor.bytes)).toEqual(expected);
  }
  expect(file.tensors.get('number')!.offset % 8).toBe(0);
  expect(file.tensors.get('w')!.offset % 4).toBe(0);
  const again = writeSafetensors({ metadata: [['format', 'pt']], tensors: tensors.toReversed() });
  expect(again).toEqual(bytes);
});

test('a file cut anywhere, or one byte longer, is refused with a sentence', async () => {
  const whole = small();
  for (let length = 0; length <= whole.length + 1; length++) {
    if (length === whole.length) continue;
    const bytes = new Uint8Array(length);
    bytes.set(whole.subarray(0, length));
    const error = await read(bytes).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(HadalError);
    expect((error as HadalError).message).toMatch(/expected .+, got .+; /);
  }
});

test('only the header is read, a window at a time', async () => {
  const many = Array.from({ length: 20_000 }, (_, i) => {
    return { name: `model.layers.${i}.self_attn.q_proj.weight`, dtype: 'BF16' as const, shape: [4096, 4096] };
  });
  const { header, totalBytes } = layOutSafetensors({ tensors: many });
  const reads: number[] = [];
  const file = await readSafetensors({
    ...bytesSource(header, 'huge.safetensors'),
    size: totalBytes,
    async read(offset, length) {
      reads.push(length);
      return header.subarray(offset, offset + length);
    },
  });
  expect(file.tensors.size).toBe(many.length);
  expect(Math.max(...reads)).toBeLessThanOrEqual(1 << 20);
  expect(reads.reduce((a, b) => a + b, 0)).toBeLessThan(header.length * 1.1);
});

test('the writer refuses what the format cannot hold', () => {
  const one = (tensor: object) => () =>
    writeSafetensors({
      tensors: [{ name: 'a', dtype: 'F32', shape: [1], data: new Uint8Array(4), ...tensor }],
    });
  expect(one({ name: '' })).toThrow(/a name of its own/);
  expect(one({ name: '__metadata__' })).toThrow(/a name of its own/);
  expect(one({ name: '\ud800' })).toThrow(/lone surrogates/);
  expect(one({ dtype: 'Q8_0', shape: [32] })).toThrow(/expected one of F32, .*BF16.*, got Q8_0/);
  expect(one({ shape: [0.5] })).toThrow(/dimensions/);
  expect(one({ shape: new Array(9).fill(1) })).toThrow(/up to 8 dimensions/);
  expect(one({ data: new Uint8Array(3) })).toThrow(/expected 4 bytes, got 3/);
  expect(() => writeSafetensors({ tensors: [tensors[0], tensors[0]] })).toThrow(/one that is taken/);
});

test('shards and their index are written and joined', async () => {
  const { files, index } = shardSafetensors(tensors, 20);
  expect(files.map(({ name }) => name)).toEqual([
    'model-00001-of-00003.safetensors',
    'model-00002-of-00003.safetensors',
    'model-00003-of-00003.safetensors',
  ]);
  const parsed = readIndex(index!, 'index');
  expect(parsed.files).toEqual(files.map(({ name }) => name));
  const headers = files.map((file) => read(writeSafetensors(file), file.name));
  const joined = joinShards(parsed, await Promise.all(headers));
  expect(joined.sources.map(({ name }) => name)).toEqual(parsed.files);
  expect(joined.tensors.size).toBe(tensors.length);
  expect(joined.tensors.get('w')).toMatchObject({ source: 2, dtype: 'F32', bytes: 24 });
  expect(JSON.parse(index!).metadata.total_size).toBe(47);
  expect(shardSafetensors(tensors, 1000)).toEqual({ files: [{ name: 'model.safetensors', tensors }] });
});

test("Python's files are read: every tensor of a folder that transformers wrote", async () => {
  const folder = new URL('../../../test/golden/hf/fp8/', import.meta.url);
  const index = readIndex(readFileSync(new URL('model.safetensors.index.json', folder), 'utf8'), 'fp8');
  const files = index.files.map((name) => read(readFileSync(new URL(name, folder)), name));
  const { tensors: found, metadata } = joinShards(index, await Promise.all(files));
  expect(metadata.get('format')).toBe('pt');
  expect(found.size).toBe(index.fileOf.size);
  expect(found.get('model.layers.1.mlp.gate.e_score_correction_bias')?.dtype).toBe('F32');
  expect(found.get('model.layers.0.self_attn.o_proj.weight')).toMatchObject({
    dtype: 'F8_E4M3',
    shape: [96, 160],
  });
});
