import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { dtype } from '../../dtypes/table.ts';
import { HadalError } from '../../error.ts';
import { bytesSource } from '../byte-source.ts';
import type { MetaValue, ModelFile } from '../tensor-info.ts';
import { readGguf } from './read.ts';
import { joinShards, shardNames } from './shards.ts';
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

/** A header by hand: fields as bytes, in order. */
function bytesOf(...parts: (number | bigint | string | Uint8Array)[]): Uint8Array {
  const bytes = parts.flatMap((part) => {
    if (part instanceof Uint8Array) return [...part];
    if (typeof part === 'string')
      return [...bytesOf(BigInt(new TextEncoder().encode(part).length))].concat([
        ...new TextEncoder().encode(part),
      ]);
    const view = new DataView(new ArrayBuffer(typeof part === 'bigint' ? 8 : 4));
    if (typeof part === 'bigint') view.setBigUint64(0, part, true);
    else view.setUint32(0, part, true);
    return [...new Uint8Array(view.buffer)];
  });
  return Uint8Array.from(bytes);
}
const ascii = (text: string) => new TextEncoder().encode(text);
const header = (tensors: bigint, pairs: bigint, ...rest: Parameters<typeof bytesOf>) =>
  bytesOf(ascii('GGUF'), 3, tensors, pairs, ...rest, new Uint8Array(256));

describe('files that lie or are something else', () => {
  const none = new Uint8Array(64);
  const tensor = (name: string, offset: bigint, ...dims: bigint[]) =>
    [name, dims.length, ...dims, 0, offset] as const;
  const cases: readonly [string, Uint8Array, string, RegExp][] = [
    ['more keys than bytes', header(0n, 2n ** 60n), 'gguf-lies', /entries/],
    ['more tensors than bytes', header(2n ** 63n, 0n), 'gguf-lies', /entries/],
    ['a key of 2^62 bytes', header(0n, 1n, 2n ** 62n), 'gguf-lies', /at most/],
    ['a value type that is none', header(0n, 1n, 'k', 13), 'gguf-lies', /value type/],
    ['a list of 2^61 numbers', header(0n, 1n, 'k', 9, 4, 2n ** 61n), 'gguf-lies', /at most \d+ values/],
    ['lists too deep', header(0n, 1n, 'k', 9, 9, 1n, 9, 1n, 9, 1n, 9, 1n), 'gguf-lies', /deep/],
    ['a truth of 7', header(0n, 1n, 'k', 7, Uint8Array.of(7)), 'gguf-lies', /truth/],
    ['a text that is not UTF-8', header(0n, 1n, 'k', 8, 2n, Uint8Array.of(0xff, 0xfe)), 'gguf-lies', /UTF-8/],
    ['a key twice', header(0n, 2n, 'k', 4, 1, 'k', 4, 1), 'gguf-lies', /once more/],
    ['an alignment of 3', header(0n, 1n, 'general.alignment', 4, 3), 'gguf-lies', /power of two/],
    ['five dimensions', header(1n, 0n, 'a', 5, none), 'gguf-lies', /dimensions/],
    ['no dimensions', header(1n, 0n, 'a', 0, none), 'gguf-lies', /dimensions/],
    ['a dimension of 0', header(1n, 0n, ...tensor('a', 0n, 0n)), 'gguf-lies', /possible size/],
    [
      'a product beyond 2^53',
      header(1n, 0n, ...tensor('a', 0n, 2n ** 40n, 2n ** 40n)),
      'gguf-lies',
      /possible size/,
    ],
    ['bytes beyond the end', header(1n, 0n, ...tensor('a', 0n, 2n ** 30n)), 'gguf-truncated', /ends at byte/],
    [
      'an offset beyond the end',
      header(1n, 0n, ...tensor('a', 2n ** 40n, 4n)),
      'gguf-truncated',
      /ends at byte/,
    ],
    ['an offset out of step', header(1n, 0n, ...tensor('a', 5n, 4n)), 'gguf-lies', /steps of 32/],
    [
      'tensors over each other',
      header(2n, 0n, ...tensor('a', 0n, 16n), ...tensor('b', 32n, 4n)),
      'gguf-lies',
      /bytes of its own/,
    ],
    [
      'a tensor twice',
      header(2n, 0n, ...tensor('a', 0n, 4n), ...tensor('a', 32n, 4n)),
      'gguf-lies',
      /same name/,
    ],
    ['a tensor type that is none', header(1n, 0n, 'a', 1, 32n, 4, 0n), 'gguf-dtype', /number type 4/],
    ['a row of half a block', header(1n, 0n, 'a', 1, 48n, 8, 0n), 'gguf-lies', /whole blocks/],
    ['a name of 65 bytes', header(1n, 0n, ...tensor('a'.repeat(65), 0n, 4n)), 'gguf-lies', /at most 64/],
    ['version 1', bytesOf(ascii('GGUF'), 1, none), 'gguf-version', /version 1/],
    ['the other byte order', bytesOf(ascii('GGUF'), 0x03000000, none), 'gguf-version', /big-endian/],
    ['nothing', new Uint8Array(0), 'gguf-magic', /empty/],
    ['a web page', ascii(`<!DOCTYPE html>${' '.repeat(99)}`), 'gguf-magic', /web page/],
    ['a pointer', ascii('version https://git-lfs.github.com/spec/v1\noid sha256:0\n'), 'gguf-magic', /LFS/],
    ['a zip', bytesOf(ascii('PK\u0003\u0004'), none), 'gguf-magic', /zip/],
    ['safetensors', bytesOf(20n, ascii('{"a":{"dtype":"F32"}}'), none), 'gguf-magic', /safetensors/],
    ['noise', Uint8Array.from({ length: 99 }, (_, i) => i * 7 + 1), 'gguf-magic', /01 08 0f 16/],
  ];
  test.each(cases)('%s', async (_name, bytes, code, words) => {
    const error = (await read(bytes).catch((caught: unknown) => caught)) as HadalError;
    expect(error).toBeInstanceOf(HadalError);
    expect({ code: error.code, message: error.message }).toMatchObject({
      code,
      message: expect.stringMatching(words),
    });
    expect(error.message).toMatch(/^test\.gguf.*: expected .+, got .+; .+/);
  });
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
  });

  test('joined', async () => {
    const file = joinShards([await shard(0, 2, ['a']), await shard(1, 2, ['b'])]);
    expect(file.sources.length).toBe(2);
    expect(file.tensors.get('b')?.source).toBe(1);
  });

  test('that contradict each other', async () => {
    const [a, b] = [await shard(0, 2, ['a']), await shard(1, 2, ['b'])];
    expect(() => joinShards([b, a])).toThrow(/split\.no 1/);
    expect(() => joinShards([a])).toThrow(HadalError);
    const twice = await shard(1, 2, ['a']);
    expect(() => joinShards([a, twice])).toThrow(/once more/);
    const five = await shard(0, 2, ['a'], 5);
    expect(() => joinShards([five, b])).toThrow(/5 tensors/);
  });
});
