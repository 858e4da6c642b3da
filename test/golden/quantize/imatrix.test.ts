/**
 * Owns: sums of squares of activations judged by imatrix.json, made by scripts/reference/imatrix.py with transformers'
 * hooks: every tensor of the blocks, every column, every expert's count; those of SmolLM2 judged by imatrix-peer.json, made
 * by scripts/reference/imatrix-peer.mjs with llama-imatrix; the files' layouts judged by imatrix-files.json.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it, test } from 'vitest';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { bytesSource } from '../../../src/formats/byte-source.ts';
import { type Imatrix, imatrixBytes, meansOf, readImatrix } from '../../../src/formats/imatrix.ts';
import { loadModel } from '../../../src/model/load.ts';
import { collectImatrix, observeChunks } from '../../../src/quantize/collect-imatrix.node.ts';
import { open, VARIANTS } from '../../contract/backends.ts';
import { describeWith, testModelPath } from '../../fixtures/needs.ts';
import { worstDifference } from '../../fixtures/run-model.ts';
import { type ToyEra, toyGgufFile, toyGgufTensors } from '../../fixtures/toy-file.ts';
import { toyLlama } from '../../fixtures/toy-model.ts';
import { type ToyExperts, type ToyShape, toyTokenIds } from '../../fixtures/toy-weights.ts';

interface Toy {
  /** What differs from shapes.json. */
  readonly experts: Partial<ToyExperts>;
  readonly tensors: Record<string, { readonly sums: string; readonly counts: number[] }>;
}

const read = (name: string) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const golden: Record<string, Toy> = read('imatrix.json').toys;
const shapes: ToyShape[] = read('../models/shapes.json');
const floats = (base64: string) => new Float32Array(Uint8Array.from(Buffer.from(base64, 'base64')).buffer);

const BACKENDS = [
  ['the reference', () => createReferenceBackend()] as const,
  ...VARIANTS.filter(({ threads }) => threads === 2).map(
    (variant) => [`native, ${variant.isa}`, () => open(variant)] as const,
  ),
];
const CASES = Object.keys(golden).flatMap((toy) => {
  const latent = shapes.find(({ name }) => name === toy)!.attention.kind === 'latent';
  const eras: readonly ToyEra[] = latent ? ['old', 'new'] : ['new'];
  return eras.map((era) => [toy, era] as const);
});

describe.each(BACKENDS)('%s', (_, create) => {
  test.each(CASES)('%s, %s era: what transformers multiplies with, in chunks and steps', async (toy, era) => {
    const { experts, tensors } = golden[toy]!;
    const plain = shapes.find(({ name }) => name === toy)!;
    const shape = plain.experts ? { ...plain, experts: { ...plain.experts, ...experts } } : plain;
    await using backend = create();
    const file = toyGgufFile(shape, era);
    const model = await loadModel(file, backend);
    // Twice the same chunk: twice the sums, so a chunk sees nothing of the one before.
    const ids = toyTokenIds(shape);
    const seen = await observeChunks(model, backend, [ids, ids], { stepTokens: 20 });
    const split = (name: string) => /attn_[kv]_b\.weight$/.test(name);
    const whole = (name: string) => name.endsWith('attn_kv_b.weight');
    const expected = Object.keys(tensors).filter((name) => !(era === 'old' ? split : whole)(name));
    const latent = shape.attention.kind === 'latent';
    expect([...seen.keys()].sort()).toEqual(
      expected.filter((name) => latent || !(split(name) || whole(name))).sort(),
    );
    for (const [name, { sums, counts }] of seen) {
      const of = tensors[name]!;
      expect([name, ...counts]).toEqual([name, ...of.counts.map((count) => 2 * count)]);
      const halves = Float32Array.from(sums, (sum) => sum / 2);
      expect(halves.length, name).toBe(floats(of.sums).length);
      expect(worstDifference(halves, floats(of.sums)), name).toBeLessThan(1e-3);
    }
  });
});

describe('a block that predicts a further token', () => {
  const shape = { ...shapes.find(({ name }) => name === 'v3-like')!, draftLayers: 1 };
  const blk = `blk.${shape.layers}.`;

  test.each([7, 64])(
    'is observed with everything of it, in steps of %d: types of two bits need it',
    async (stepTokens) => {
      await using backend = createReferenceBackend();
      const file = toyGgufFile(shape);
      const ids = toyTokenIds(shape);
      const seen = await observeChunks(await loadModel(file, backend), backend, [ids], { stepTokens });
      const matrices = [...file.tensors.values()].filter(
        ({ name, shape: dims }) => name.startsWith(blk) && dims.length > 1,
      );
      const wanted = matrices.map(({ name }) => name).filter((name) => !name.includes('ffn_gate_inp'));
      expect(wanted.length).toBeGreaterThan(10);
      for (const name of wanted) {
        const { sums, counts } = seen.get(name)!;
        // Nothing follows the last token.
        if (counts.length === 1) expect([name, counts[0]]).toEqual([name, ids.length - 1]);
        expect([name, sums.some((sum) => sum > 0)]).toEqual([name, true]);
      }
      const chosen = seen.get(`${blk}ffn_gate_exps.weight`)!.counts;
      expect([...chosen].reduce((a, b) => a + b)).toBe((ids.length - 1) * shape.experts!.used);
    },
  );

  /** By plain arithmetic: the first half of what eh_proj is multiplied with are the normed embeddings of what follows. */
  test('is observed with the tokens that follow', async () => {
    await using backend = createReferenceBackend();
    const ids = toyTokenIds(shape);
    const tensors = new Map(toyGgufTensors(shape).map(({ name, values }) => [name, values]));
    const model = await loadModel(toyGgufFile(shape), backend);
    const { sums } = (await observeChunks(model, backend, [ids])).get(`${blk}nextn.eh_proj.weight`)!;
    const [embeddings, norm] = [tensors.get('token_embd.weight')!, tensors.get(`${blk}nextn.enorm.weight`)!];
    const { hidden } = shape;
    const expected = new Float32Array(hidden);
    for (const id of ids.slice(1)) {
      const row = embeddings.subarray(id * hidden, (id + 1) * hidden);
      const square = row.reduce((sum, x) => sum + x * x, 0) / hidden + shape.normEps;
      for (let i = 0; i < hidden; i++) expected[i]! += (row[i]! * norm[i]!) ** 2 / square;
    }
    expect(worstDifference(Float32Array.from(sums.slice(0, hidden)), expected)).toBeLessThan(1e-3);
  });
});

describeWith(['weights'], 'SmolLM2 beside llama-imatrix', () => {
  const peer: {
    readonly chunkTokens: number;
    readonly chunks: number;
    readonly apart: Readonly<Record<'hadalF32' | 'hadalQ4_1' | 'llamaQ4_1', { readonly most: number }>>;
    readonly tensors: Readonly<Record<string, readonly number[]>>;
  } = read('imatrix-peer.json');

  it('of one file in F32 both found the same when the golden was made', () => {
    expect(peer.apart.hadalF32.most).toBeLessThan(1e-3);
    expect(peer.apart.hadalQ4_1.most).toBeLessThan(0.05);
  });

  it('of the file in Q4_1 Hadal finds what llama-imatrix finds of the same in F32, in every tensor within 5 %', async () => {
    const text = readFileSync(new URL('../../fixtures/texts/devils-dictionary.txt', import.meta.url), 'utf8');
    const { chunkTokens, chunks, tensors } = peer;
    const request = { path: testModelPath()!, text, dataset: 'text', chunkTokens, chunks };
    const { entries } = await collectImatrix(request);
    expect([...entries.keys()].sort()).toEqual(Object.keys(tensors).sort());
    for (const [name, theirs] of Object.entries(tensors)) {
      const means = meansOf(entries.get(name)!);
      const step = means.length / theirs.length;
      const squares = (numbers: readonly number[]) => numbers.reduce((sum, x) => sum + x * x, 0);
      const apart = theirs.map((mean, i) => means[Math.floor(i * step)]! - mean);
      expect(Math.sqrt(squares(apart) / squares(theirs)), name).toBeLessThan(0.05);
    }
  });
});

describe('files', () => {
  const files: {
    readonly gguf: string;
    readonly dat: string;
    readonly entries: Record<string, { readonly sums: number[]; readonly counts: number[] }>;
  } = read('imatrix-files.json');
  const of = (base64: string) => bytesSource(Uint8Array.from(Buffer.from(base64, 'base64')), 'golden');
  const imatrix: Imatrix = {
    datasets: ['calibration.txt'],
    chunks: 3,
    chunkTokens: 16,
    entries: new Map(
      Object.entries(files.entries).map(([name, { sums, counts }]) => [
        name,
        { sums: Float32Array.from(sums), counts: Float32Array.from(counts) },
      ]),
    ),
  };
  const written = (format: 'gguf' | 'dat') => Buffer.concat([...imatrixBytes(imatrix, format)]);

  test('the GGUF layout is what gguf-py writes, byte for byte', () => {
    expect(written('gguf').toString('base64')).toBe(files.gguf);
  });

  test('the older layout is what struct packs, byte for byte', () => {
    expect(written('dat').toString('base64')).toBe(files.dat);
  });

  test('the GGUF layout is read whole', async () => {
    expect(await readImatrix(of(files.gguf))).toEqual(imatrix);
  });

  test('both say the same of every column, and ones of an expert that nobody chose', async () => {
    const [a, b] = [await readImatrix(of(files.gguf)), await readImatrix(of(files.dat))];
    expect(b).toMatchObject({ datasets: ['calibration.txt'], chunks: 3 });
    for (const [name, entry] of b.entries) {
      const [ours, theirs] = [meansOf(entry), meansOf(a.entries.get(name)!)];
      expect(ours.length).toBe(theirs.length);
      expect(worstDifference(ours, theirs), name).toBeLessThan(1e-6);
    }
    expect([...meansOf(a.entries.get('blk.1.ffn_up_exps.weight')!).slice(4, 8)]).toEqual([1, 1, 1, 1]);
    expect([...a.entries.keys()].filter((name) => !b.entries.has(name))).toEqual([
      'blk.2.ffn_up_exps.weight',
    ]);
  });

  test('a file that is cut off anywhere, or lies, is refused in a sentence', async () => {
    const whole = Buffer.from(files.dat, 'base64');
    const text = 4 + 'calibration.txt'.length;
    for (let length = 0; length < whole.length; length++) {
      // The oldest files have neither chunks nor a text.
      if (length === whole.length - text - 4 || length === whole.length - text) continue;
      const cut = bytesSource(Uint8Array.from(whole.subarray(0, length)), 'cut');
      await expect(readImatrix(cut), `${length}`).rejects.toMatchObject({ code: 'imatrix-invalid' });
    }
    const odd = Uint8Array.from(whole);
    new DataView(odd.buffer).setFloat32(whole.length - text - 8, Number.NaN, true);
    await expect(readImatrix(bytesSource(odd, 'odd'))).rejects.toMatchObject({ code: 'imatrix-invalid' });
    await expect(readImatrix(bytesSource(toyLlama(), 'a model'))).rejects.toMatchObject({
      code: 'imatrix-invalid',
    });
  });
});
