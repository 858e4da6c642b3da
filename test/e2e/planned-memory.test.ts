/**
 * Owns: that the memory which the planner promises is what the engine holds, for toys of every architecture.
 * Larger files: bench/planner.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { closeModelFile, openModelFile } from '../../src/formats/open.node.ts';
import { parseMachine } from '../../src/planner/machine.ts';
import { planModel } from '../../src/planner/plan.ts';
import { subjectOfFile } from '../../src/planner/subject.ts';
import { openModel } from '../../src/runtime/open.node.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';

const folder = mkdtempSync(join(tmpdir(), 'hadal-planned-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const shapes = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
) as ToyShape[];
const MACHINE = parseMachine({ name: 'any', cpu: { cores: 2 }, memory: { gib: 64 } }, 'any');

test.each([
  ['llama-full-untied', 0],
  ['qwen2-grouped-tied', 0],
  ['deepseek-16b-like', 0],
  ['v2-lite-like', 0],
  ['v3-like', 0],
  ['v3-like', 1],
  ['v32-like', 0],
  ['v32-like', 1],
])('%s with %i predicting blocks takes what is planned, within a twentieth', async (name, draftLayers) => {
  const shape = shapes.find((candidate) => candidate.name === name)!;
  const path = join(folder, `${name}-${draftLayers}.gguf`);
  writeFileSync(path, toyGguf(draftLayers > 0 ? { ...shape, draftLayers } : shape, { weights: 'Q8_0' }));
  const file = await openModelFile(path);
  const subject = subjectOfFile(path, file);
  await closeModelFile(file);
  const contextTokens = 512;
  const planned = planModel(subject, MACHINE, { contextTokens }).ways.find(
    ({ engine }) => engine === 'hadal',
  );
  await using model = await openModel(path, { contextTokens });
  const request = { requestId: 'one', promptIds: Int32Array.of(1, 2, 3), maxTokens: 4, endIds: [] };
  for await (const event of model.engine.generate({ ...request, sampling: { temperature: 0 } })) {
    if (event.type === 'end') break;
  }
  const { weightBytes, cacheBytes, tensorBytes } = await model.memory();
  // The same rule of what is kept apart on both sides: to the byte, but for rotation's frequencies.
  expect(weightBytes - model.description.heldBytes).toBeLessThan(4096);
  expect(weightBytes).toBeGreaterThanOrEqual(model.description.heldBytes);
  const held = weightBytes + cacheBytes + tensorBytes;
  expect(
    Math.abs(planned!.placement.bytes / held - 1),
    `${planned!.placement.bytes} of ${held}`,
  ).toBeLessThan(0.05);
});
