/**
 * Owns: Hugging Face folders as transformers writes them, converted to GGUF and computed by llama.cpp, held to transformers.
 * Refuses to know: how conversion goes, how either computes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { llamaScorer } from '../../scripts/reference/llama-peer.mjs';
import { divergence, logSoftmax } from '../../src/evaluate/distributions.ts';
import { convertFolder } from '../../src/quantize/convert.node.ts';
import { describeWith } from '../fixtures/needs.ts';

const place = (name: string) => fileURLToPath(new URL(`../golden/hf/${name}`, import.meta.url));
const golden: { readonly ids: readonly number[]; readonly logits: Readonly<Record<string, string>> } =
  JSON.parse(readFileSync(place('logits.json'), 'utf8'));
const peer = process.env.HADAL_TEST_PEER!;
const scratch = mkdtempSync(join(tmpdir(), 'hadal-converted-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
/** It keeps keys and values in F16, and rounds activations to BF16 where weights are. */
const MEAN_KL = { F32: 1e-5, F16: 1e-5, BF16: 1e-3 };

describeWith(['peer', 'python'], 'a converted folder in llama.cpp', () => {
  it.each([
    ['f32', 'F32', undefined],
    ['f16', 'F16', undefined],
    ['bf16', 'BF16', undefined],
    ['bf16', 'F32', undefined],
    ['fp8', 'F32', undefined],
    ['fp8-dense', 'F32', undefined],
    ['fp8', 'F32', 150_000],
  ] as const)(
    '%s to %s has the logits of transformers, in one file or in shards',
    async (kind, fileType, shardBytes) => {
      const out = join(scratch, `${kind}-${fileType}-${shardBytes ?? 'one'}.gguf`);
      const options = shardBytes === undefined ? {} : { shardBytes };
      const { paths } = await convertFolder({ folder: place(kind), out, fileType }, options);
      expect(paths.length > 1).toBe(shardBytes !== undefined);
      const ids = Int32Array.from(golden.ids);
      const expected = new Float32Array(Uint8Array.from(Buffer.from(golden.logits[kind]!, 'base64')).buffer);
      const vocab = expected.length / ids.length;
      await using llama = llamaScorer({ peer, path: paths[0]!, windowTokens: ids.length });
      const kls: number[] = [];
      for await (const { firstPosition, logits } of llama.score({ requestId: kind, ids, class: 'prefill' })) {
        expect(logits.length).toBe((ids.length - firstPosition) * vocab);
        for (let at = firstPosition; at < ids.length; at++) {
          const row = (of: Float32Array, i: number) => logSoftmax(of.subarray(i * vocab, (i + 1) * vocab));
          kls.push(divergence(row(expected, at), row(logits, at - firstPosition)));
        }
      }
      const mean = kls.reduce((sum, kl) => sum + kl, 0) / kls.length;
      console.info(`${kind} to ${fileType}: mean KL ${mean.toExponential(2)} over ${kls.length} positions`);
      expect(kls.length).toBeGreaterThan(10);
      expect(mean).toBeLessThan(MEAN_KL[fileType]);
    },
  );
});
