/**
 * Owns: llama.cpp on shards of our writer: it says what it says of the whole file.
 * Refuses to know: whether what it says is right (architectures.test.ts).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bytesSource } from '../../src/formats/byte-source.ts';
import { readGguf } from '../../src/formats/gguf/read.ts';
import { shardGguf } from '../../src/formats/gguf/shards.ts';
import { typed, writeGguf } from '../../src/formats/gguf/write.ts';
import { openTokenizer } from '../../src/runtime/open.node.ts';
import { describeWith } from '../fixtures/needs.ts';
import { toyLlama } from '../fixtures/toy-model.ts';
import { llamaCppAnswers } from './kept.ts';

describeWith(['peer'], 'llama.cpp on shards', () => {
  let folder = '';
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-shards-'));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('answers as on the whole file', async () => {
    const bytes = toyLlama();
    const { metadata, metadataTypes, tensors } = await readGguf(bytesSource(bytes, 'toy.gguf'));
    const shards = shardGguf(
      join(folder, 'toy'),
      {
        metadata: [...metadata].map(([key, value]) => [key, typed(metadataTypes!.get(key)!, value)] as const),
        tensors: [...tensors.values()],
      },
      100_000,
    );
    expect(shards.length).toBeGreaterThan(2);
    for (const { name, plan } of shards) {
      const filled = plan.tensors.map((tensor) => {
        return { ...tensor, data: bytes.subarray(tensor.offset, tensor.offset + tensor.bytes) };
      });
      await writeFile(name, writeGguf({ metadata: plan.metadata, tensors: filled }));
    }
    const whole = join(folder, 'whole.gguf');
    await writeFile(whole, bytes);
    const tokenizer = await openTokenizer(shards[0]!.name);
    const text = 'hello world, 12';
    const asked = {
      peer: process.env.HADAL_TEST_PEER!,
      texts: [text],
      prompts: [[...tokenizer.encode(text)]],
      tokens: 4,
    };
    const ofShards = await llamaCppAnswers({ ...asked, modelPath: shards[0]!.name });
    const ofWhole = await llamaCppAnswers({ ...asked, modelPath: whole });
    expect(ofShards.textIds).toEqual([[...tokenizer.encode(text)]]);
    expect(ofShards.continuations).toEqual(ofWhole.continuations);
    expect(await ofShards.logits(0)).toEqual(await ofWhole.logits(0));
  });
});
