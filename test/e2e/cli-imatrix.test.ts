/** The built command on a toy with experts: importance matrices in both layouts, and quantizing by them. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { closeModelFile, openModelFile } from '../../src/formats/open.node.ts';
import { hadal, scratchFolder, startHadal } from '../fixtures/command.ts';
import { toyGguf } from '../fixtures/toy-model.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';

const shapes: ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);
const TEXT = 'A text about nothing, which the toy reads byte by byte.';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
const at = (name: string) => join(folder.path, name);
beforeAll(async () => {
  folder = await scratchFolder();
  await writeFile(at('toy.gguf'), toyGguf(shapes.find(({ name }) => name === 'deepseek-wide')!));
  await writeFile(at('text.txt'), TEXT);
});
afterAll(() => folder[Symbol.asyncDispose]());

const imatrix = (...args: string[]) =>
  hadal(['imatrix', at('toy.gguf'), at('text.txt'), '--ctx', '16', ...args]);

test('it writes beside the model, lists experts that were never chosen, and overwrites only on demand', async () => {
  const { code, out, err } = await imatrix();
  expect([code, out]).toEqual([0, `${at('toy-imatrix.gguf')}\n`]);
  expect(err).toMatch(
    /^# \d+ tensors over 3 chunks of 16 tokens in .*\nblk\.1, 64 experts: never chosen \d+/,
  );
  const again = await imatrix();
  expect(again).toMatchObject({ code: 1, out: '', err: expect.stringContaining('--force') });
  const forced = JSON.parse((await imatrix('--force', '--chunks', '2', '--json')).out);
  expect(forced).toMatchObject({ format: 'gguf', chunks: 2, chunkTokens: 16, datasets: [at('text.txt')] });
  expect(forced.rare[0].never.length).toBeGreaterThan(0);
  expect(existsSync(`${at('toy-imatrix.gguf')}.part`)).toBe(false);
});

test('quantize takes both layouts, and says what they say nothing of', async () => {
  expect((await imatrix('-o', at('m.dat'))).code).toBe(0);
  expect((await imatrix('-o', at('m.gguf'))).code).toBe(0);
  expect(readFileSync(at('m.gguf')).subarray(0, 4).toString()).toBe('GGUF');
  expect(readFileSync(at('m.dat')).subarray(0, 4).toString()).not.toBe('GGUF');
  for (const name of ['m.dat', 'm.gguf']) {
    const args = ['quantize', at('toy.gguf'), 'Q4_0', '--imatrix', at(name), '--out', at(`${name}-q4.gguf`)];
    const { code, err } = await hadal(args);
    expect([name, code]).toEqual([name, 0]);
    expect(err).toContain('the importance matrix says nothing of token_embd.weight, output.weight\n');
    const file = await openModelFile(at(`${name}-q4.gguf`));
    expect(file.metadata.get('quantize.imatrix.dataset')).toBe(at('text.txt'));
    expect(file.metadata.get('quantize.imatrix.chunks_count')).toBe(3);
    await closeModelFile(file);
  }
});

test('a wrong file, text or flag is a sentence, and leaves nothing behind', async () => {
  const before = readdirSync(folder.path);
  const quantize = ['quantize', at('toy.gguf'), 'Q8_0', '--out', at('q.gguf')];
  expect(await hadal([...quantize, '--imatrix', at('toy.gguf')])).toMatchObject({
    code: 1,
    err: expect.stringContaining('expected an importance matrix'),
  });
  expect(await hadal([...quantize, '--imatrix', at('text.txt')])).toMatchObject({ code: 1 });
  expect(await hadal(['imatrix', at('toy.gguf'), at('text.txt'), '-o', at('x.gguf')])).toMatchObject({
    code: 1,
    err: expect.stringContaining('at least 512 tokens'),
  });
  expect(await imatrix('-o', at('x.gguf'), '--format', 'json')).toMatchObject({ code: 2 });
  expect(await imatrix('-o', join(folder.path, 'none', 'x.gguf'))).toMatchObject({
    code: 1,
    err: expect.stringContaining('a place that can be written to'),
  });
  expect(readdirSync(folder.path)).toEqual(before);
});

test('Ctrl-C ends it, and leaves nothing behind', async () => {
  await writeFile(at('long.txt'), TEXT.repeat(2000));
  const before = readdirSync(folder.path);
  const { child, finished } = startHadal(['imatrix', at('toy.gguf'), at('long.txt'), '-o', at('x.gguf')]);
  setTimeout(() => child.kill('SIGINT'), 1500);
  expect(await finished).toMatchObject({ code: 130 });
  expect(readdirSync(folder.path)).toEqual(before);
});
