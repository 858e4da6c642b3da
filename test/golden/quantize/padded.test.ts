/**
 * Owns: that a padded model is the same function as the one that was padded, by the float32 reference backend.
 * Refuses to know: how padding goes, what padded models are for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { padModel } from '../../../scripts/pad-model.mjs';
import { createReferenceBackend } from '../../../src/backend/reference/reference.ts';
import { closeModelFile, openModelFile } from '../../../src/formats/open.node.ts';
import { loadModel } from '../../../src/model/load.ts';
import { tokenizerFromGguf } from '../../../src/tokenizer/from-gguf.ts';
import { describeWith, testModelPath } from '../../fixtures/needs.ts';
import { runTokens, worstDifference } from '../../fixtures/run-model.ts';

const TEXT = 'Water boils at a lower temperature on a mountain, because';
const scratch = mkdtempSync(join(tmpdir(), 'hadal-padded-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function logitsOf(path: string): Promise<Float32Array> {
  const file = await openModelFile(path);
  try {
    await using backend = createReferenceBackend();
    const ids = tokenizerFromGguf(file.metadata).encode(TEXT);
    return (await runTokens(await loadModel(file, backend), backend, ids)).logits;
  } finally {
    await closeModelFile(file);
  }
}

describeWith(['weights'], 'SmolLM2 padded', () => {
  it('has rows of 768, every type’s blocks whole, and the logits of the original', async () => {
    const path = testModelPath()!;
    const out = join(scratch, 'padded.gguf');
    await padModel({ path, out, type: 'F32' });
    const file = await openModelFile(out);
    const matrices = [...file.tensors.values()].filter(({ shape }) => shape.length > 1);
    await closeModelFile(file);
    expect(matrices.map(({ shape }) => shape[0]! % 256)).toEqual(matrices.map(() => 0));
    expect(matrices.map(({ shape }) => shape[0])).toContain(768);
    expect(worstDifference(await logitsOf(out), await logitsOf(path))).toBeLessThan(1e-4);
  });
});
