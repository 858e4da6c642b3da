/**
 * Owns: Hugging Face folders written by transformers, converted to GGUF and judged by transformers' logits and ids.
 * Refuses to know: how conversion goes.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { closeModelFile, openModelFile } from '../../../src/formats/open.node.ts';
import { loadModel } from '../../../src/model/load.ts';
import { convertFolder } from '../../../src/quantize/convert.node.ts';
import { tokenizerFromGguf } from '../../../src/tokenizer/from-gguf.ts';
import { runTokens, worstDifference } from '../../fixtures/run-model.ts';

const folder = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const golden: {
  readonly text: string;
  readonly ids: readonly number[];
  readonly logits: Readonly<Record<string, string>>;
} = JSON.parse(readFileSync(folder('logits.json'), 'utf8'));
const scratch = mkdtempSync(join(tmpdir(), 'hadal-convert-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

test.each([
  ['f32', 'F32'],
  ['f16', 'F16'],
  ['bf16', 'BF16'],
  ['fp8', 'F32'],
  ['fp8-dense', 'F32'],
] as const)('%s to %s', async (kind, fileType) => {
  const out = join(scratch, `${kind}-${fileType}.gguf`);
  await convertFolder({ folder: folder(kind), out, fileType });
  const file = await openModelFile(out);
  await using backend = createReferenceBackend();
  try {
    const tokenizer = tokenizerFromGguf(file.metadata);
    expect([...tokenizer.encode(golden.text)]).toEqual(golden.ids);
    expect([...tokenizer.endIds].sort()).toEqual([0, 2]);
    expect(file.metadata.get('tokenizer.chat_template')).toContain('{%');
    const model = await loadModel(file, backend);
    const { logits } = await runTokens(model, backend, golden.ids, { chunk: 7 });
    const expected = new Float32Array(Uint8Array.from(Buffer.from(golden.logits[kind]!, 'base64')).buffer);
    expect(worstDifference(logits, expected)).toBeLessThan(1e-3);
  } finally {
    await closeModelFile(file);
  }
});

test('without being told, a folder keeps the type that it is in', async () => {
  for (const [kind, type] of [
    ['f32', 'F32'],
    ['f16', 'F16'],
    ['bf16', 'BF16'],
    ['fp8', 'BF16'],
  ] as const) {
    const { fileType } = await convertFolder({
      folder: folder(kind),
      out: join(scratch, `plain-${kind}.gguf`),
    });
    expect([kind, fileType]).toEqual([kind, type]);
  }
});
