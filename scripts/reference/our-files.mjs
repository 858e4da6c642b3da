/**
 * Owns: files of our writers for other readers to judge: GGUF and safetensors, whole and in shards.
 * Refuses to know: what others find in them.
 *
 *   node scripts/reference/our-files.mjs FOLDER     (needs `npm run build`)
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { shardGguf } from '../../dist/formats/gguf/shards.js';
import { typed, writeGguf } from '../../dist/formats/gguf/write.js';
import { shardSafetensors } from '../../dist/formats/safetensors/shards.js';
import { writeSafetensors } from '../../dist/formats/safetensors/write.js';

const [folder] = process.argv.slice(2);
if (folder !== undefined) {
  mkdirSync(folder, { recursive: true });
  for (const [name, bytes] of ourFiles()) writeFileSync(join(folder, name), bytes);
}

/** The files by name; the same bytes every time. */
export function ourFiles() {
  const floats = new Uint8Array(Float32Array.from({ length: 64 }, (_, i) => (i - 32) / 8).buffer);
  const q8 = Uint8Array.from({ length: 68 }, (_, i) => (i % 34 === 0 ? 0 : i % 34 === 1 ? 0x38 : i * 37));
  const tensors = [
    { name: 'blk.0.a.weight', dtype: 'F32', shape: [32, 2], data: floats },
    { name: 'blk.0.b.weight', dtype: 'Q8_0', shape: [32, 2], data: q8 },
    {
      name: 'c',
      dtype: 'BF16',
      shape: [4, 2, 2],
      data: Uint8Array.from({ length: 32 }, (_, i) => (i % 2 ? 0x3f : i)),
    },
  ];
  const metadata = [
    ['general.architecture', 'llama'],
    ['text', '\u00e4 \u6df1 \u{1f30a}'],
    ['real', typed('f32', 0.5)],
    ['below', -5],
    ['texts', ['a', '', 'long '.repeat(20)]],
    ['numbers', Int16Array.of(1, -2, 3)],
  ];
  const plain = [
    tensors[0],
    { ...tensors[2], name: 'model.layers.0.c.weight' },
    {
      name: 'fp8',
      dtype: 'F8_E4M3',
      shape: [3, 3],
      data: Uint8Array.of(0x38, 0x40, 0xb8, 0, 1, 0x7e, 0xfe, 0x30, 8),
    },
    { name: 'scalar', dtype: 'F64', shape: [], data: new Uint8Array(Float64Array.of(0.1).buffer) },
    { name: 'empty', dtype: 'I32', shape: [4, 0], data: new Uint8Array(0) },
  ];
  const about = [['format', 'pt']];
  return [
    ['whole.gguf', writeGguf({ metadata, tensors })],
    ...shardGguf('parts', { metadata, tensors }, 300).map(({ name, plan }) => [name, writeGguf(plan)]),
    ['whole.safetensors', writeSafetensors({ metadata: about, tensors: plain })],
    ...shardSafetensors(plain, 260).files.map((file) => [
      file.name,
      writeSafetensors({ metadata: about, tensors: file.tensors }),
    ]),
  ];
}
