/** The built command on a toy of V3.2: sparse attention on the addon, chosen without being asked for. */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { needsNative, VARIANTS } from '../contract/backends.ts';
import { hadal, scratchFolder } from '../fixtures/command.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';

const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);
let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'v32.gguf');
  await writeFile(toy, toyGguf(shapes.find(({ name }) => name === 'v32-like')!));
});
afterAll(() => folder[Symbol.asyncDispose]());

const LONG =
  'The indexer chooses sixteen rows of all that came before, and this prompt has many more than that.';

test.skipIf(VARIANTS.length === 0)(
  needsNative('run computes V3.2 on the addon, to the text of the reference backend'),
  async () => {
    const said = [];
    for (const wanted of ['', 'reference']) {
      const { code, out, err } = await hadal(['run', toy, LONG, '-n', '60', '-t', '0', '--json'], {
        env: { HADAL_BACKEND: wanted },
      });
      expect(code, err).toBe(0);
      said.push(JSON.parse(out));
    }
    expect(said[0].usage).toMatchObject({ prompt_tokens: 139, generated_tokens: 60 });
    expect(said[0].content).toBe(said[1].content);
  },
);

test.skipIf(VARIANTS.length === 0)(needsNative('bench of V3.2 says that the addon computes'), async () => {
  const { code, out, err } = await hadal(
    ['bench', toy, '--json', '--prompts', '64', '--generate', '16', '--rounds', '1'],
    { env: { HADAL_BACKEND: '' } },
  );
  expect(code, err).toBe(0);
  expect(JSON.parse(out).backend.name).toBe('native');
});
