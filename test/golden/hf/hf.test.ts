/**
 * Owns: Hugging Face folders written by transformers (scripts/reference/hf-folders.py), judged by its logits and opened
 * from end to end: BF16, F16, F32, and FP8 with scales of 128 x 128.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { createNativeBackend, nativeProblem } from '../../../src/backend/native/native.node.ts';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import type { Delta } from '../../../src/chat/delta.ts';
import { closeModelFile, openModelFile } from '../../../src/formats/open.node.ts';
import { describeModel, loadModel } from '../../../src/model/load.ts';
import { openModel, openTokenizer } from '../../../src/runtime/open.node.ts';
import { runTokens, worstDifference } from '../../fixtures/run-model.ts';

const folder = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const golden: {
  readonly text: string;
  readonly ids: readonly number[];
  /** Of a user who says 'add'. */
  readonly chat: readonly number[];
  readonly logits: Readonly<Record<string, string>>;
} = JSON.parse(readFileSync(folder('logits.json'), 'utf8'));

/** [ids, vocab] */
const goldenLogits = (kind: string) =>
  new Float32Array(Uint8Array.from(Buffer.from(golden.logits[kind]!, 'base64')).buffer);

/** What each folder is, and the sampling that its generation_config.json asks for. */
const FOLDERS = {
  f32: { architecture: 'llama', sampling: { temperature: 0, topP: 0.95 } },
  f16: { architecture: 'qwen3', sampling: { temperature: 0.6, topP: 0.95, topK: 20 } },
  bf16: {
    architecture: 'qwen2',
    sampling: { temperature: 0.7, topP: 0.8, topK: 20, repetitionPenalty: 1.05 },
  },
  fp8: { architecture: 'deepseek2', sampling: { temperature: 0.6, topP: 0.95 } },
  'fp8-dense': { architecture: 'llama', sampling: { temperature: 0.7, topP: 0.95 } },
} as const;
const kinds = Object.keys(FOLDERS) as (keyof typeof FOLDERS)[];

const backends = [
  { name: 'reference', create: createReferenceBackend },
  ...(nativeProblem() === undefined ? [{ name: 'native', create: createNativeBackend }] : []),
];

describe('the logits are those of transformers', () => {
  const cases = backends.flatMap(({ name, create }) => kinds.map((kind) => [kind, name, create] as const));
  test.each(cases)('%s, %s backend', async (kind, _backend, create) => {
    const file = await openModelFile(folder(kind));
    await using backend = create();
    try {
      const model = await loadModel(file, backend);
      expect(model.architecture).toBe(FOLDERS[kind].architecture);
      const expected = goldenLogits(kind);
      const prefill = await runTokens(model, backend, golden.ids, { chunk: 7 });
      expect(worstDifference(prefill.logits, expected)).toBeLessThan(1e-3);
      const decode = await runTokens(model, backend, golden.ids, { decode: golden.ids.length });
      expect(worstDifference(decode.logits, expected)).toBeLessThan(1e-3);
    } finally {
      await closeModelFile(file);
    }
  });
});

test.each(kinds)(
  '%s: the tokenizer gives the ids of transformers and ends where the folder says',
  async (kind) => {
    const tokenizer = await openTokenizer(folder(kind));
    expect([...tokenizer.encode(golden.text)]).toEqual(golden.ids);
    expect(tokenizer.decode(golden.ids)).toBe(golden.text);
    expect([...tokenizer.endIds].sort()).toEqual([0, 2]);
  },
);

test.each(kinds)('%s: answers a chat with the folder\u2019s own sampling and template', async (kind) => {
  await using model = await openModel(folder(kind), { contextTokens: 64 });
  expect(model.answerer.sampling).toEqual(FOLDERS[kind].sampling);
  const options = { maxTokens: 4, sampling: { seed: 1 } };
  const deltas: Delta[] = [];
  for await (const delta of model.answerer.chat([{ role: 'user', content: 'add' }], options))
    deltas.push(delta);
  expect(deltas.at(-1)).toMatchObject({ type: 'end', usage: { promptTokens: golden.chat.length } });
});

describe('folders that contradict themselves', () => {
  const copies = mkdtempSync(join(tmpdir(), 'hadal-folders-'));
  afterAll(() => rmSync(copies, { recursive: true }));

  const refusal = async (name: string, config: (json: Record<string, unknown>) => object) => {
    const copy = join(copies, name);
    cpSync(folder('fp8'), copy, { recursive: true });
    const path = join(copy, 'config.json');
    writeFileSync(path, JSON.stringify(config(JSON.parse(readFileSync(path, 'utf8')))));
    const file = await openModelFile(copy);
    try {
      return () => describeModel(file);
    } finally {
      await closeModelFile(file);
    }
  };

  test('an unknown architecture is refused by its name', async () => {
    const describing = await refusal('unknown', (json) => ({ ...json, model_type: 'mamba' }));
    expect(describing).toThrow(/model_type of .*unknown: expected one of llama, .*deepseek_v3.*, got mamba;/);
  });

  test('another scheme of quantization is refused by its name', async () => {
    const quantization_config = { quant_method: 'awq', bits: 4 };
    expect(await refusal('awq', (json) => ({ ...json, quantization_config }))).toThrow(
      /"quant_method":"awq"/,
    );
  });

  test('scales of other blocks than the config says', async () => {
    const quantization_config = { quant_method: 'fp8', weight_block_size: [64, 64] };
    expect(await refusal('blocks', (json) => ({ ...json, quantization_config }))).toThrow(/weight_scale_inv/);
  });

  test('tensors of another width than the config says', async () => {
    expect(await refusal('width', (json) => ({ ...json, hidden_size: 128 }))).toThrow(
      /\[128, 300\] by the file's own/,
    );
  });
});
