/** Owns: tests of comparing types on a toy: what is measured, going on, what is left behind. Refuses to know: real models. */
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { toyLlama } from '../../test/fixtures/toy-model.ts';
import { type CompareRow, compareTypes } from './compare.node.ts';
import { compareChart } from './compare-chart.ts';

let folder: string;
let request: Parameters<typeof compareTypes>[0];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-compare-'));
  const path = join(folder, 'toy.gguf');
  writeFileSync(path, toyLlama());
  const text = 'hello world, said the toy; and again hello, over and over. '.repeat(6);
  const results = join(folder, 'toy.jsonl');
  request = { path, types: ['Q8_0', 'Q4_0'], text, results, windowTokens: 64, windows: 2 };
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('measures the file and what it becomes, and leaves nothing but the results', async () => {
  const { rows, tokens } = await compareTypes(request);
  expect(tokens).toBe(2 * 31);
  expect(rows.map(({ type }) => type)).toEqual(['reference', 'Q8_0', 'Q4_0']);
  const [reference, q8, q4] = rows as [CompareRow, CompareRow, CompareRow];
  expect(reference).toMatchObject({ kl: 0, sameTop: 1 });
  expect(q8.kl).toBeGreaterThan(0);
  expect(q4.kl).toBeGreaterThan(10 * q8.kl);
  expect(q4.fileBytes).toBeLessThan(q8.fileBytes);
  expect(q8.memoryBytes).toBeLessThan(reference.memoryBytes);
  for (const { decodeRate, prefillRate } of rows)
    expect(Math.min(decodeRate, prefillRate)).toBeGreaterThan(0);
  expect(readdirSync(folder).sort()).toEqual(['toy.gguf', 'toy.jsonl']);
});

test('goes on where it was stopped, past a line that was cut off, and measures another text anew', async () => {
  const stopped = new AbortController();
  const first = compareTypes(request, {
    signal: stopped.signal,
    onRow: ({ type }) => {
      if (type === 'Q8_0') stopped.abort(new Error('stopped'));
    },
  });
  await expect(first).rejects.toThrow('stopped');
  expect(existsSync(`${request.results}.tmp`)).toBe(false);
  const before = readFileSync(request.results, 'utf8');
  appendFileSync(request.results, '{"identity":"cut o');
  const resumed: [string, boolean][] = [];
  const { rows } = await compareTypes(request, { onRow: ({ type }, again) => resumed.push([type, again]) });
  expect(resumed).toEqual([
    ['reference', true],
    ['Q8_0', true],
    ['Q4_0', false],
  ]);
  expect(rows.map((row) => JSON.stringify(row)).slice(0, 2)).toEqual(
    before
      .trim()
      .split('\n')
      .map((line) => JSON.stringify(JSON.parse(line).row)),
  );
  const again: boolean[] = [];
  await compareTypes(request, { onRow: (_, known) => again.push(known) });
  expect(again).toEqual([true, true, true]);
  const other: boolean[] = [];
  const types = ['Q8_0'] as const;
  await compareTypes({ ...request, types, windows: 1 }, { onRow: (_, known) => other.push(known) });
  expect(other).toEqual([false, false]);
});

test('types are made with an importance matrix, and what another one made is measured anew', async () => {
  const types = ['Q4_0'] as const;
  const weighed = (scale: number) => {
    const sums = Float32Array.from({ length: 64 }, (_, i) => 1 + scale * (i % 3));
    const entries = new Map([['blk.0.attn_q.weight', { sums, counts: Float32Array.of(1) }]]);
    return { path: 'toy-imatrix.gguf', matrix: { datasets: [], chunks: 1, entries } };
  };
  const plain = await compareTypes({ ...request, types });
  const known: boolean[] = [];
  const onRow = (_: CompareRow, resumed: boolean) => known.push(resumed);
  const one = await compareTypes({ ...request, types, imatrix: weighed(9) }, { onRow });
  await compareTypes({ ...request, types, imatrix: weighed(9) }, { onRow });
  await compareTypes({ ...request, types, imatrix: weighed(2) }, { onRow });
  expect(known).toEqual([false, false, true, true, false, false]);
  expect(one.rows[1]!.kl).not.toBe(plain.rows[1]!.kl);
});

test('the picture names every type and figure, and what it is of', async () => {
  const { rows } = await compareTypes(request);
  const svg = compareChart('a <toy> in 2 types', 'a note', rows);
  expect(svg).toContain('a &#60;toy&#62; in 2 types');
  for (const { type } of rows) expect(svg).toContain(`>${type}</text>`);
  for (const title of ['File', 'Memory once loaded', 'Perplexity', 'KL divergence', 'Answering'])
    expect(svg).toContain(`>${title}</text>`);
  expect(svg).not.toMatch(/NaN|undefined|Infinity/);
});
