import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dtype } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import { bytesSource } from '../byte-source.ts';
import type { MetaValue, ModelFile } from '../tensor-info.ts';
import { readGguf } from './read.ts';
import { ggufStem, joinShards, shardGguf, shardNames } from './shards.ts';
import { typed, writeGguf } from './write.ts';

const goldenFile = (name: string) =>
  readFileSync(new URL(`../../../test/golden/gguf/${name}`, import.meta.url));
const read = (bytes: Uint8Array) => readGguf(bytesSource(bytes, 'test.gguf'));

const metadata: [string, MetaValue | ReturnType<typeof typed>][] = [
  ['general.architecture', 'llama'],
  ['llama.rope.freq_base', typed('f32', 10_000)],
  ['big', 2n ** 63n],
  ['small', -5],
  ['list', Uint16Array.of(1, 2, 65_535)],
  ['words', ['a', 'ß', '深海', '\u{1f30a}']],
  ['flags', [true, false]],
  ['nested', [Int32Array.of(-1, 1), Int32Array.of()]],
  ['nothing', []],
];
const data = new Uint8Array(34 * 2).map((_, i) => i * 31);
const small = () =>
  writeGguf({
    metadata,
    tensors: [
      { name: 'a', dtype: 'F32', shape: [3], data: new Uint8Array(12).fill(7) },
      { name: 'b.weight', dtype: 'Q8_0', shape: [32, 2], data },
    ],
  });

test("gguf-py's file is read as gguf-py reads it", async () => {
  const golden = JSON.parse(goldenFile('python.json').toString()) as {
    metadata: Record<string, unknown>;
    tensors: {
      name: string;
      dtype: string;
      shape: number[];
      offset: number;
      bytes: number;
      values: number[];
    }[];
  };
  const file = goldenFile('python.gguf');
  const { metadata: found, tensors } = await read(file);
  const plain = (value: MetaValue): unknown =>
    ArrayBuffer.isView(value)
      ? Array.from(value as Float32Array)
      : typeof value === 'bigint' || Number.isInteger(value)
        ? String(value)
        : value;
  expect(Object.fromEntries([...found].map(([key, value]) => [key, plain(value)]))).toEqual(golden.metadata);
  expect([...tensors.keys()].sort()).toEqual(golden.tensors.map(({ name }) => name).sort());
  for (const { values, ...tensor } of golden.tensors) {
    const { source, ...ours } = tensors.get(tensor.name)!;
    expect(ours).toEqual(tensor);
    expect(source).toBe(0);
    const decoded = new Float32Array(values.length);
    dtype(ours.dtype).decode!(file, ours.offset, decoded, 0, values.length);
    expect([...decoded]).toEqual(values);
  }
});

test('what is written is read back, types included', async () => {
  const file = await read(small());
  expect(file.metadata.get('llama.rope.freq_base')).toBe(10_000);
  expect(file.metadataTypes?.get('llama.rope.freq_base')).toBe('f32');
  for (const [key, value] of metadata.filter(([, value]) => !(value instanceof Object && 'type' in value))) {
    // An empty list has no element type of its own.
    expect(file.metadata.get(key)).toEqual(key === 'nothing' ? new Uint32Array(0) : value);
  }
  expect([...file.tensors.values()]).toMatchObject([
    { name: 'a', dtype: 'F32', shape: [3], bytes: 12 },
    { name: 'b.weight', dtype: 'Q8_0', shape: [32, 2], bytes: 68 },
  ]);
  const again = writeGguf({
    metadata: [...file.metadata].map(
      ([key, value]) => [key, typed(file.metadataTypes!.get(key)!, value)] as const,
    ),
    tensors: [...file.tensors.values()].map((tensor) => ({
      ...tensor,
      data: small().subarray(tensor.offset, tensor.offset + tensor.bytes),
    })),
  });
  expect(again).toEqual(small());
});

test('version 2 is laid out the same', async () => {
  const bytes = small();
  bytes[4] = 2;
  expect((await read(bytes)).tensors.size).toBe(2);
});

test('a file cut anywhere is refused with a sentence', async () => {
  const whole = small();
  const last = [...(await read(whole)).tensors.values()].at(-1)!;
  const needed = last.offset + last.bytes;
  for (let length = 0; length < needed; length++) {
    const error = await read(whole.slice(0, length)).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(HadalError);
    expect((error as HadalError).message).toMatch(/expected .+, got .+; /);
  }
  expect((await read(whole.slice(0, needed))).tensors.size).toBe(2);
});

test('a file with any bytes changed is read or refused with a sentence; nothing else, and at once', async () => {
  const flips = fc.array(fc.tuple(fc.nat(small().length - 1), fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(flips, async (changes) => {
      const bytes = small();
      for (const [at, byte] of changes) bytes[at] = byte;
      const result: ModelFile | HadalError = await read(bytes).catch((error: HadalError) => error);
      if (!('tensors' in result)) expect(result).toBeInstanceOf(HadalError);
      else {
        for (const { offset, bytes: length } of result.tensors.values()) {
          expect(offset + length).toBeLessThanOrEqual(bytes.length);
        }
      }
    }),
    { numRuns: 3000, seed: 21 },
  );
});

test('only the header is read', async () => {
  const bytes = small();
  const size = 10 * 2 ** 30;
  const reads: number[] = [];
  const source = {
    ...bytesSource(bytes, 'huge.gguf'),
    size,
    async read(offset: number, length: number) {
      reads.push(length);
      const part = new Uint8Array(length);
      if (offset < bytes.length) part.set(bytes.subarray(offset, offset + length));
      return part;
    },
  };
  await readGguf(source);
  expect(reads.reduce((a, b) => a + b, 0)).toBeLessThan(4 * 2 ** 20);
});

test('the writer refuses what the format cannot hold', () => {
  const one = (tensor: object) =>
    writeGguf({
      metadata: [],
      tensors: [{ name: 'a', dtype: 'F32', shape: [1], data: new Uint8Array(4), ...tensor }],
    });
  expect(() => one({ name: 'a'.repeat(65) })).toThrow(/at most 64 bytes/);
  expect(() => one({ shape: [1, 1, 1, 1, 1] })).toThrow(/dimensions/);
  expect(() => one({ data: new Uint8Array(3) })).toThrow(/expected 4 bytes, got 3/);
  expect(() => one({ dtype: 'Q8_0', shape: [16] })).toThrow(/multiple of 32/);
  expect(() => writeGguf({ metadata: [['a', '\ud800']], tensors: [] })).toThrow(/lone surrogates/);
  expect(() => writeGguf({ metadata: [['general.alignment', 48]], tensors: [] })).toThrow(/power of two/);
});

describe('shards', () => {
  const shard = async (no: number, count: number, names: readonly string[], total = 2) =>
    read(
      writeGguf({
        metadata: [
          ['split.no', typed('u16', no)],
          ['split.count', typed('u16', count)],
          ['split.tensors.count', typed('i32', total)],
        ],
        tensors: names.map((name) => ({ name, dtype: 'F32' as const, shape: [1], data: new Uint8Array(4) })),
      }),
    );

  test('names', () => {
    expect(shardNames('/m/x-00002-of-00003.gguf')).toEqual([
      '/m/x-00001-of-00003.gguf',
      '/m/x-00002-of-00003.gguf',
      '/m/x-00003-of-00003.gguf',
    ]);
    expect(shardNames('x.gguf')).toBeUndefined();
    expect(['x-00002-of-00003.gguf', 'x.GGUF', 'x'].map(ggufStem)).toEqual(['x', 'x', 'x']);
  });

  test('joined', async () => {
    const file = joinShards([await shard(0, 2, ['a']), await shard(1, 2, ['b'])]);
    expect(file.sources.length).toBe(2);
    expect(file.tensors.get('b')?.source).toBe(1);
  });

  test('are cut by size, with the metadata in the first, and joined again', async () => {
    const tensors = ['a', 'b', 'c'].map((name) => {
      return {
        name,
        dtype: 'Q8_0' as const,
        shape: [32, 2],
        data: data.map((byte) => byte ^ name.charCodeAt(0)),
      };
    });
    const plan = { metadata, tensors };
    const shards = shardGguf('m', plan, 140);
    expect(shards.map(({ name }) => name)).toEqual(['m-00001-of-00002.gguf', 'm-00002-of-00002.gguf']);
    const files = await Promise.all(shards.map((part) => read(writeGguf(part.plan))));
    expect(files.map((file) => [...file.tensors.keys()])).toEqual([['a', 'b'], ['c']]);
    expect(files[1]!.metadata.size).toBe(3);
    const joined = joinShards(files);
    expect([...joined.tensors.keys()]).toEqual(['a', 'b', 'c']);
    expect(joined.metadata.get('words')).toEqual(['a', 'ß', '深海', '\u{1f30a}']);
    expect(shardGguf('m', plan, 1000)).toEqual([{ name: 'm.gguf', plan }]);
    expect(() => shardGguf('m', { metadata, tensors: new Array(65_536).fill(tensors[0]) }, 1)).toThrow(
      /65535/,
    );
  });
});
