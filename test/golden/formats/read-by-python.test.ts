/**
 * Owns: files of our writers, of which Python's gguf and safetensors have said what is in them (read-by-python.json).
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ourFiles } from '../../../scripts/reference/our-files.mjs';
import { dtype } from '../../../src/dtypes/table.ts';
import { bytesSource } from '../../../src/formats/byte-source.ts';
import { readGguf } from '../../../src/formats/gguf/read.ts';
import { readSafetensors } from '../../../src/formats/safetensors/read.ts';

interface Found {
  readonly sha256: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: Readonly<Record<string, { readonly shape: number[]; readonly values: number[] }>>;
}
const golden: Readonly<Record<string, Found>> = JSON.parse(
  readFileSync(new URL('read-by-python.json', import.meta.url), 'utf8'),
).files;

test('the same files as Python read', () => {
  const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
  const ours = Object.fromEntries(ourFiles().map(([name, bytes]) => [name, digest(bytes)]));
  expect(ours).toEqual(
    Object.fromEntries(Object.entries(golden).map(([name, { sha256 }]) => [name, sha256])),
  );
});

test.each(ourFiles())('%s: Python finds in it what we find', async (name, bytes) => {
  const read = name.endsWith('.gguf') ? readGguf : readSafetensors;
  const { metadata, tensors } = await read(bytesSource(bytes, name));
  const plain = (value: unknown) => (ArrayBuffer.isView(value) ? Array.from(value as Int16Array) : value);
  const found = golden[name]!;
  expect(Object.fromEntries([...metadata].map(([key, value]) => [key, plain(value)]))).toEqual(
    found.metadata,
  );
  expect([...tensors.keys()].sort()).toEqual(Object.keys(found.tensors).sort());
  for (const tensor of tensors.values()) {
    const { shape, values } = found.tensors[tensor.name]!;
    expect(tensor.shape).toEqual(shape);
    const format = dtype(tensor.dtype);
    if (format.decode === undefined || values.length === 0) continue;
    const decoded = new Float32Array(values.length);
    format.decode(bytes, tensor.offset, decoded, 0, values.length);
    expect([...decoded]).toEqual(values.map(Math.fround));
  }
});
