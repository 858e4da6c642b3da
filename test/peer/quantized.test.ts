/**
 * Owns: quantized files both ways between us and llama.cpp: what either makes, both read alike; perplexity of the same
 * published file in both, and how far Q4_K_M by either is from the original.
 * Refuses to know: encoders. Every type is in test/golden/quantize/perplexity.json.
 */
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { padModel } from '../../scripts/pad-model.mjs';
import { llamaQuantize, llamaScorer } from '../../scripts/reference/llama-peer.mjs';
import { evaluateText, type Scorer } from '../../src/evaluate/perplexity.ts';
import { FILE_TYPES, type FileTypeName } from '../../src/quantize/file-types.ts';
import { quantizeFile } from '../../src/quantize/quantize.node.ts';
import { openModel, openTokenizer } from '../../src/runtime/open.node.ts';
import type { Tokenizer } from '../../src/tokenizer/tokenizer.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import { type ToyShape, type ToyTensor, toyTokenIds } from '../fixtures/toy-weights.ts';

const text = readFileSync(new URL('../fixtures/texts/devils-dictionary.txt', import.meta.url), 'utf8');
const peer = process.env.HADAL_TEST_PEER!;
const WITHIN = 0.005;
const WINDOWS = 3;
const MINUTES = 60_000;

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hadal-quantized-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const perplexityIn = async (scorer: Scorer, tokenizer: Tokenizer) =>
  (await evaluateText(scorer, tokenizer, text, { windows: WINDOWS })).perplexity;

async function inHadal(path: string): Promise<number> {
  await using model = await openModel(path, { contextTokens: 513 });
  return await perplexityIn(model.engine, model.answerer.tokenizer);
}

/** Perplexity of one file in both engines. */
async function perplexities(path: string) {
  await using llama = llamaScorer({ peer, path });
  return { hadal: await inHadal(path), llama: await perplexityIn(llama, await openTokenizer(path)) };
}

function expectAlike(title: string, ours: number, theirs: number): void {
  console.info(`${title}: ${ours.toFixed(4)} and ${theirs.toFixed(4)}`);
  expect(Math.abs(ours / theirs - 1), title).toBeLessThan(WITHIN);
}

/** A file in our type from us and from llama.cpp. */
async function madeByBoth(path: string, fileType: FileTypeName) {
  const files = { hadal: join(folder, 'hadal.gguf'), llama: join(folder, 'llama.gguf') };
  await quantizeFile({ path, out: files.hadal, fileType }, { force: true });
  await llamaQuantize({ peer, path, out: files.llama, number: FILE_TYPES[fileType].number });
  return files;
}

describeWith(['weights', 'peer', 'python'], 'perplexity beside llama.cpp', () => {
  it(
    'of SmolLM2 as published, in Q4_1, is the same within half a percent',
    async () => {
      const { hadal, llama } = await perplexities(testModelPath()!);
      expectAlike('Q4_1 as published', hadal, llama);
    },
    10 * MINUTES,
  );

  /** Few tokens say little of perplexity; how far each file is from the original they say well. */
  it(
    'padded SmolLM2 in Q4_K_M is as near to the original as llama.cpp’s, and both run here',
    async () => {
      const path = join(folder, 'padded.gguf');
      await padModel({ path: testModelPath()!, out: path });
      const files = await madeByBoth(path, 'Q4_K_M');
      await using original = await openModel(path, { contextTokens: 513 });
      const klOf = async (file: string) => {
        await using model = await openModel(file, { contextTokens: 513 });
        const options = { windows: 1, reference: original.engine };
        const { distance } = await evaluateText(model.engine, model.answerer.tokenizer, text, options);
        return distance!.kl.mean;
      };
      const [ours, theirs] = [await klOf(files.hadal), await klOf(files.llama)];
      console.info(`mean KL from F16: ours ${ours.toFixed(5)}, llama.cpp’s ${theirs.toFixed(5)}`);
      expect(ours).toBeLessThan(1.05 * theirs);
      expect(theirs).toBeLessThan(0.1);
    },
    10 * MINUTES,
  );
});

const TOY: ToyShape = {
  name: 'v3-like, wide',
  architecture: 'deepseek2',
  seed: 7,
  layers: 3,
  hidden: 256,
  vocab: 0,
  contextTokens: 128,
  normEps: 1e-6,
  feedForward: 512,
  ropeBase: 10_000,
  tied: false,
  tokens: 96,
  attention: { kind: 'latent', heads: 4, qLora: 256, kvLora: 256, nopeDim: 64, ropeDim: 32, valueDim: 64 },
  experts: {
    experts: 8,
    used: 2,
    shared: 1,
    inter: 256,
    leadingDense: 1,
    scoring: 'sigmoid',
    groups: 1,
    groupsUsed: 1,
    normalise: true,
    scale: 2.5,
  },
};
const TOYS: readonly ToyShape[] = [
  TOY,
  {
    ...TOY,
    name: 'v2-lite-like, wide',
    // llama.cpp takes a file for one without q_lora by its number of layers alone.
    layers: 27,
    attention: { kind: 'latent', heads: 4, kvLora: 256, nopeDim: 64, ropeDim: 32, valueDim: 64 },
    experts: { ...TOY.experts!, leadingDense: 25, scoring: 'softmax', normalise: false, scale: 1 },
  },
];

/**
 * Both round activations to eight bits, and where two experts are nearly equal one of them is another one then. So the
 * router is made sure of itself.
 */
const decided =
  ({ experts }: ToyShape) =>
  (tensor: ToyTensor): ToyTensor =>
    tensor.name.includes(experts!.scoring === 'sigmoid' ? 'exp_probs_b' : 'ffn_gate_inp')
      ? { ...tensor, values: tensor.values.map((x) => 32 * x) }
      : tensor;

/** A tokenizer for a text that is ids already. */
const asIds = (ids: Int32Array) =>
  ({ addsBos: false, bosId: undefined, encode: () => ids }) as unknown as Tokenizer;

describeWith(['peer', 'python'], 'toys with experts quantized by either, beside llama.cpp', () => {
  it.each(TOYS.flatMap((shape) => (['Q8_0', 'Q4_K_M'] as const).map((type) => [shape.name, type] as const)))(
    '%s in %s',
    async (name, fileType) => {
      const shape = TOYS.find((one) => one.name === name)!;
      const path = join(folder, 'toy.gguf');
      await writeFile(path, toyGguf(shape, { weights: 'F16', change: decided(shape) }));
      const ids = toyTokenIds({ tokens: 96, seed: 3, vocab: 256 });
      for (const [maker, file] of Object.entries(await madeByBoth(path, fileType))) {
        await using model = await openModel(file, { contextTokens: 97 });
        await using llama = llamaScorer({ peer, path: file, windowTokens: 96 });
        const options = { windowTokens: 96, reference: llama };
        const { distance } = await evaluateText(model.engine, asIds(ids), '', options);
        const title = `${name}, ${fileType} by ${maker}`;
        console.info(
          `${title}: mean KL ${distance!.kl.mean.toExponential(2)}, worst ${distance!.klMost.toExponential(2)}`,
        );
        expect(distance!.kl.mean, title).toBeLessThan(0.01);
      }
    },
  );
});
