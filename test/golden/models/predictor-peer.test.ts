/**
 * Owns: a toy's predictor judged by llama.cpp's: how many of its guesses were right while it answered
 * (predictor-peer.json, made by scripts/reference/predictor-peer.mjs).
 */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { Backend } from '../../../src/backend/backend.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { bytesSource } from '../../../src/formats/byte-source.ts';
import { readGguf } from '../../../src/formats/gguf/read.ts';
import { loadModel } from '../../../src/model/load.ts';
import { tokenizerFromGguf } from '../../../src/tokenizer/from-gguf.ts';
import { needsNative, open, VARIANTS } from '../../contract/backends.ts';
import { PREDICTING } from '../../fixtures/predicting-toy.ts';
import { runPredictor } from '../../fixtures/run-predictor.ts';
import { toyGguf } from '../../fixtures/toy-model.ts';
import type { ToyTensor } from '../../fixtures/toy-weights.ts';

interface Golden {
  readonly birth: { readonly toy: string };
  readonly answers: readonly {
    readonly prompt: string;
    readonly text: string;
    readonly drafted: number;
    readonly accepted: number;
  }[];
}

const path = new URL('predictor-peer.json', import.meta.url);
const predictor = `blk.${PREDICTING.layers}.`;

/**
 * Layers do a little of what they would, so that a token says much of the next one; the predictor begins with the token
 * and has its share of the hidden state and a layer of its own.
 */
function mild(tensor: ToyTensor): ToyTensor {
  const { name, values, shape } = tensor;
  const scaled = (by: number) => ({ ...tensor, values: values.map((x) => x * by) });
  if (/(attn_output|ffn_down|ffn_down_exps|ffn_down_shexp)\.weight$/.test(name)) {
    return scaled(name.startsWith(predictor) ? 0.03 : 0.01);
  }
  if (!name.endsWith('nextn.eh_proj.weight')) return tensor;
  const cols = shape[0]!;
  // [I | a tenth], rows of twice the hidden size.
  const row = (i: number) => Math.floor(i / cols);
  return {
    ...tensor,
    values: values.map((x, i) => (i % cols < cols / 2 ? Number(i % cols === row(i)) : x / 10)),
  };
}

const bytes = toyGguf(PREDICTING, { change: mild });
const digest = createHash('sha256').update(bytes).digest('hex');
// For predictor-peer.mjs.
if (process.env.HADAL_WRITE_TOY) writeFileSync(process.env.HADAL_WRITE_TOY, bytes);

/** How often a draft of one token was right, drafting after every step as llama.cpp does. */
async function accepted(
  backend: Backend,
  prompt: string,
  text: string,
): Promise<[drafted: number, accepted: number]> {
  const file = await readGguf(bytesSource(bytes, 'toy.gguf'));
  const begin = Array.from(tokenizerFromGguf(file.metadata).encode(prompt));
  // The toy says single bytes only, and a byte is its own id.
  const ids = Int32Array.from([...begin, ...new TextEncoder().encode(text)]);
  const model = await loadModel(file, backend);
  const { first } = await runPredictor(model, backend, ids, 'decode');
  const guess = (row: number) => {
    const logits = first.subarray(row * model.vocabSize, (row + 1) * model.vocabSize);
    return logits.reduce((best, x, id) => (x > logits[best]! ? id : best), 0);
  };
  let [drafted, right] = [0, 0];
  for (let newest = begin.length; newest < ids.length - 1; drafted++) {
    const good = guess(newest - 1) === ids[newest + 1];
    right += Number(good);
    newest += good ? 2 : 1;
  }
  return [drafted, right];
}

/** Ends of answers, where llama.cpp counts a draft more or a right one less, and guesses that are nearly tied. */
const APART = 2;

const expectGolden = async (create: () => Backend) => {
  const { birth, answers } = JSON.parse(readFileSync(path, 'utf8')) as Golden;
  expect(digest).toBe(birth.toy);
  for (const answer of answers) {
    await using backend = create();
    const [drafted, right] = await accepted(backend, answer.prompt, answer.text);
    // About half of them: a predictor that is put together otherwise is hardly ever right.
    expect(answer.accepted).toBeGreaterThan(0.4 * answer.drafted);
    expect(Math.abs(right - answer.accepted), answer.prompt).toBeLessThanOrEqual(APART);
    expect(Math.abs(drafted - answer.drafted), answer.prompt).toBeLessThanOrEqual(APART);
  }
};

test('guesses are as often right as those of llama.cpp, in its own answers', () =>
  expectGolden(createReferenceBackend));

test.skipIf(VARIANTS.length === 0)(needsNative('on the addon too'), () =>
  expectGolden(() => open(VARIANTS[1]!)),
);
