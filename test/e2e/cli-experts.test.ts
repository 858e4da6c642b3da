/** The built command on a toy with experts: what `run --experts` shows. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hadal, scratchFolder } from '../fixtures/command.ts';
import { toyGguf, toyLlama } from '../fixtures/toy-model.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';

const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);
const env = { HADAL_BACKEND: 'reference' };
let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'v3.gguf');
  await writeFile(toy, toyGguf(shapes.find(({ name }) => name === 'v3-like')!));
});
afterAll(() => folder[Symbol.asyncDispose]());

test('--experts --json counts every choice of every computed token', async () => {
  const { code, out } = await hadal(['run', toy, 'hello', '-n', '5', '-t', '0', '--experts', '--json'], {
    env,
  });
  expect(code).toBe(0);
  const { usage, experts } = JSON.parse(out);
  // The last token is not computed: nothing follows it.
  const tokens = usage.prompt_tokens + usage.generated_tokens - 1;
  expect(experts.map(({ layer }: { layer: number }) => layer)).toEqual([1, 2]);
  for (const layer of experts) {
    expect(layer.counts).toHaveLength(32);
    expect(layer.counts.reduce((sum: number, n: number) => sum + n, 0)).toBe(8 * tokens);
    expect(layer).toMatchObject({ tokens, dead: layer.counts.filter((n: number) => n === 0).length });
  }
});

test('--experts draws a strip for each layer on standard error, without it nothing is drawn', async () => {
  const flags = ['run', toy, 'hello', '-n', '4', '-t', '0', '-q'];
  const drawn = await hadal([...flags, '--experts'], { env });
  expect(drawn.code).toBe(0);
  expect(drawn.err).toMatch(/^Experts: 8 of 32 for each of \d+ tokens in 2 layers\n/m);
  expect(drawn.err).toMatch(/^layer 1 {2}[·▁▂▃▄▅▆▇█]{32} {2}even \d+ % /m);
  const plain = await hadal(flags, { env });
  expect(plain.out).toBe(drawn.out);
  expect(plain.err).not.toContain('Experts');
});

test('--experts on a model without any is refused in a sentence', async () => {
  const dense = join(folder.path, 'dense.gguf');
  await writeFile(dense, toyLlama());
  const { code, err } = await hadal(['run', dense, 'hello', '--experts'], { env });
  expect(code).toBe(2);
  expect(err).toContain('--experts: expected a model with experts, got');
});
