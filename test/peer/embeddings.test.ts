/**
 * Owns: our embeddings against llama.cpp's on the same file: SmolLM2, and toys of other architectures.
 * Refuses to know: how either computes them.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Pooling } from '../../src/engine/request.ts';
import { openModel } from '../../src/runtime/open.node.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import { type ToyShape, toyTokenIds } from '../fixtures/toy-weights.ts';

const LEAST_COSINE = 0.999;
const POOLINGS = ['mean', 'last'] as const;
const SCRIPT = fileURLToPath(new URL('./llama-cpp-embed.mjs', import.meta.url));
const TEXTS = [
  'A rainy day in Köln.',
  'def area(r):\n    return 3.14 * r * r\n',
  'The quick brown fox jumps over the lazy dog, and then sleeps in the sun until the evening comes.',
];

async function llamaCppVectors(
  modelPath: string,
  architecture: string,
  inputs: readonly (readonly number[])[],
): Promise<Record<Pooling, number[][]>> {
  const given = [SCRIPT, process.env.HADAL_TEST_PEER!, modelPath, architecture, JSON.stringify({ inputs })];
  const { stdout } = await promisify(execFile)(process.execPath, given);
  return JSON.parse(stdout);
}

function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return ab / Math.sqrt(aa * bb);
}

async function compare(path: string, architecture: string, inputs: readonly (readonly number[])[]) {
  const theirs = await llamaCppVectors(path, architecture, inputs);
  await using model = await openModel(path, { contextTokens: 256 });
  let least = 1;
  for (const pooling of POOLINGS) {
    for (const [i, ids] of inputs.entries()) {
      const { vector } = await model.embedder.embed(ids, { pooling });
      expect(theirs[pooling][i]).toHaveLength(vector.length);
      least = Math.min(least, cosine(vector, theirs[pooling][i]!));
    }
  }
  console.info(`${architecture}: least cosine with llama.cpp ${least.toFixed(6)}`);
  expect(least).toBeGreaterThan(LEAST_COSINE);
}

describeWith(['weights', 'peer'], 'SmolLM2 embeds as llama.cpp does', () => {
  test('mean and last, three texts', async () => {
    const path = testModelPath()!;
    await using model = await openModel(path, { contextTokens: 256 });
    const { tokenizer } = model.answerer;
    await compare(
      path,
      'llama',
      TEXTS.map((text) => [...tokenizer.encode(text, { bos: true, eos: true })]),
    );
  });
});

describeWith(['peer'], 'toys embed as llama.cpp does', () => {
  const shapes: readonly ToyShape[] = JSON.parse(
    readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
  );
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-embeddings-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  test.each(['qwen3-yarn', 'v3-like'])('%s in F16', async (name) => {
    const shape = shapes.find((one) => one.name === name)!;
    const path = join(folder, `${name}.gguf`);
    await writeFile(path, toyGguf(shape, { weights: 'F16' }));
    const inputs = [1, 2].map((seed) => [...toyTokenIds({ tokens: 30, seed, vocab: 256 })]);
    await compare(path, shape.architecture, inputs);
  });
});
