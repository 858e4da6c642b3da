import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { open, VARIANTS } from '../../test/contract/backends.ts';
import { toyGgufFile } from '../../test/fixtures/toy-file.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import { createReferenceBackend } from '../backend/reference/reference.ts';
import { loadModel } from '../model/load.ts';
import { type DiskArchiveOptions, diskArchive } from './disk-archive.node.ts';
import { createEngine, type EngineOptions } from './engine.ts';
import { archiveFigures, eraseAll, eraseSalt, saltFolder } from './page-folder.node.ts';
import type { EngineEvent } from './request.ts';

const root = mkdtempSync(join(tmpdir(), 'hadal-archive-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let folder = '';
let warnings: string[] = [];
beforeEach(() => {
  folder = join(mkdtempSync(join(root, 'case-')), 'pages');
  warnings = [];
});

const shapes = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];
/** V3's with its predictor, whose rows are kept with the others. */
const shapeOf = (name: string) => {
  const shape = shapes.find((one) => one.name === name)!;
  return name === 'v3-like' ? { ...shape, draftLayers: 1 } : shape;
};

const settings = (more: Partial<DiskArchiveOptions> = {}): DiskArchiveOptions => ({
  folder,
  identity: 'one model',
  maxBytes: 1 << 30,
  ttlMs: 3_600_000,
  onWarning: (sentence) => warnings.push(sentence),
  ...more,
});

const BACKENDS = [
  ['reference', () => createReferenceBackend()],
  ...(VARIANTS.length === 0 ? [] : [['native', () => open(VARIANTS[0]!)] as const]),
] as const;

/** One engine from beginning to end: answers to prompts, one after another. */
async function life(
  prompts: readonly { readonly ids: Int32Array; readonly salt?: string }[],
  {
    archive = settings(),
    create = () => createReferenceBackend(),
    shape = shapeOf('llama-grouped-tied'),
    ...options
  }: {
    readonly archive?: DiskArchiveOptions | undefined | null;
    readonly create?: () => ReturnType<typeof createReferenceBackend>;
    readonly shape?: ToyShape;
  } & Omit<EngineOptions, 'archive'> = {},
) {
  await using backend = create();
  const model = await loadModel(toyGgufFile(shape), backend);
  await using engine = createEngine(backend, model, {
    contextTokens: 128,
    ...(archive ? { archive: (layout, pageBytes) => diskArchive(archive, layout, pageBytes) } : {}),
    ...options,
  });
  const answers = [];
  for (const [i, { ids, salt }] of prompts.entries()) {
    const events: EngineEvent[] = [];
    for await (const event of engine.generate({
      requestId: `${i}`,
      promptIds: ids,
      maxTokens: 10,
      sampling: { temperature: 0.8, seed: 4 },
      endIds: [],
      topLogprobs: 3,
      ...(salt === undefined ? {} : { cacheSalt: salt }),
    }))
      events.push(event);
    const end = events.at(-1)!;
    if (end.type !== 'end') throw new Error('no end');
    answers.push({
      tokens: events.filter(({ type }) => type === 'token'),
      cachedTokens: end.usage.cachedTokens,
    });
  }
  return answers;
}

const prompt = (length: number, seed = 1) =>
  Int32Array.from({ length }, (_, i) => ((i + 1) * 37 * seed + seed) % 64);
const long = { ids: prompt(70) };
const files = () =>
  (existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }) : [])
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

describe.each(BACKENDS)('%s', (_name, create) => {
  test.each(['llama-grouped-tied', 'v2-lite-like', 'v3-like'])(
    '%s: found again after the engine ended, with the bits of computing',
    async (name) => {
      const shape = shapeOf(name);
      for (const drafting of ['off', 'auto'] as const) {
        rmSync(folder, { recursive: true, force: true });
        const [plain] = await life([long], { create, shape, drafting, archive: null });
        const [first, again] = await life([long, long], { create, shape, drafting });
        expect(first!.cachedTokens).toBe(0);
        expect(again!.cachedTokens).toBe(64);
        const [later] = await life([long], { create, shape, drafting });
        expect(later!.cachedTokens).toBe(64);
        for (const one of [first, again, later]) expect(one!.tokens).toEqual(plain!.tokens);
        // A longer prompt goes on from there, a shorter one takes less.
        const longer = { ids: prompt(100) };
        const [more] = await life([longer], { create, shape, drafting });
        expect(more!.cachedTokens).toBe(64);
        expect(more!.tokens).toEqual(
          (await life([longer], { create, shape, drafting, archive: null }))[0]!.tokens,
        );
        expect((await life([{ ids: prompt(40) }], { create, shape, drafting }))[0]!.cachedTokens).toBe(32);
      }
      expect(warnings).toEqual([]);
    },
  );
});

test('what is evicted is kept, and found within the same life', async () => {
  const small = { contextTokens: 128, cacheTokens: 128 };
  const [plain] = await life([long], { archive: null });
  const others = [2, 3, 4].map((seed) => ({ ids: prompt(100, seed) }));
  const answers = await life([long, ...others, long], small);
  expect(answers.at(-1)).toEqual({ tokens: plain!.tokens, cachedTokens: 64 });
  const without = await life([long, ...others, long], { ...small, archive: null });
  expect(without.at(-1)!.cachedTokens).toBe(0);
});

test('files and folders are the owner’s alone', async () => {
  await life([long]);
  expect(files()).toHaveLength(4);
  for (const file of files()) {
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(statSync(dirname(file)).mode & 0o777).toBe(0o700);
  }
  expect(statSync(folder).mode & 0o777).toBe(0o700);
  expect(await archiveFigures(folder)).toMatchObject({ pages: 4 });
});

test('only who has the same salt, the same model and the same layout finds it', async () => {
  await life([{ ...long, salt: 'ada' }]);
  const cached = async (salt: string, more: Parameters<typeof life>[1] = {}) =>
    (await life([{ ...long, salt }], { ...more, archive: more.archive ?? settings() }))[0]!.cachedTokens;
  expect(await cached('ada')).toBe(64);
  expect(await cached('bob')).toBe(0);
  expect(await cached('ada', { archive: settings({ identity: 'another model' }) })).toBe(0);
  expect(await cached('ada', { cacheDType: 'F32' })).toBe(0);
});

test('its time ends, and then its file goes', async () => {
  await life([long]);
  const old = new Date(Date.now() - 7_200_000);
  for (const file of files().slice(0, 4)) utimesSync(file, old, old);
  expect((await life([long]))[0]!.cachedTokens).toBe(0);
  for (const file of files()) expect(Date.now() - statSync(file).mtimeMs).toBeLessThan(3_600_000);
  expect(files()).toHaveLength(4);
});

test('the budget holds, and the oldest go first', async () => {
  await life([long]);
  const size = statSync(files()[0]!).size;
  const old = new Date(Date.now() - 60_000);
  for (const file of files()) utimesSync(file, old, old);
  const maxBytes = 6 * size;
  await life([{ ids: prompt(70, 2) }], { archive: settings({ maxBytes }) });
  expect((await archiveFigures(folder)).bytes).toBeLessThanOrEqual(maxBytes);
  expect((await life([{ ids: prompt(70, 2) }], { archive: settings({ maxBytes }) }))[0]!.cachedTokens).toBe(
    64,
  );
});

/** An archive by itself, whose pages are 1000 bytes of one number; it may be closed to wait for its writing. */
const archiveOf = (more: Partial<DiskArchiveOptions> = {}) => diskArchive(settings(more), 'layout', 1000);
const keepPages = (archive: ReturnType<typeof archiveOf>, from: number, to: number) => {
  for (let i = from; i < to; i++)
    archive.keep('ada', archive.name(undefined, 'ada', [i]), () => new Uint8Array(1000).fill(i));
};

test('engines that share a folder share its budget', async () => {
  const maxBytes = 10 * 1100;
  const [first, second] = [archiveOf({ maxBytes }), archiveOf({ maxBytes, identity: 'another model' })];
  keepPages(first, 0, 8);
  await first.close();
  keepPages(second, 0, 8);
  await second.close();
  expect((await archiveFigures(folder)).bytes).toBeLessThanOrEqual(maxBytes);
  keepPages(first, 8, 14);
  keepPages(second, 8, 14);
  await Promise.all([first.close(), second.close()]);
  expect((await archiveFigures(folder)).bytes).toBeLessThanOrEqual(maxBytes);
  expect((await archiveFigures(folder)).pages).toBeGreaterThan(5);
  expect(warnings).toEqual([]);
});

test('a page goes when its time ends, while the archive is open', async () => {
  const archive = archiveOf({ ttlMs: 1500 });
  keepPages(archive, 0, 3);
  while (archive.figures.kept < 3) await new Promise((resolve) => setTimeout(resolve, 10));
  while (files().length > 0) await new Promise((resolve) => setTimeout(resolve, 50));
  await archive.close();
});

describe('what fails for one page is of that page alone', () => {
  const nameOf = (archive: ReturnType<typeof archiveOf>, id: number) => archive.name(undefined, 'ada', [id]);

  test('a folder that is removed again and again while pages are written', async () => {
    const archive = archiveOf();
    for (let i = 0; i < 200; i++) {
      keepPages(archive, i, i + 1);
      if (i % 10 === 5) await eraseAll(folder);
    }
    await archive.close();
    keepPages(archive, 300, 302);
    await archive.close();
    expect(await archive.fetch('ada', [nameOf(archive, 300), nameOf(archive, 301)])).toHaveLength(2);
    expect(warnings).toEqual([]);
  });

  test('what is left of a write that was interrupted', async () => {
    const archive = archiveOf();
    keepPages(archive, 0, 1);
    await archive.close();
    const [page] = files();
    rmSync(page!);
    writeFileSync(`${page}.${process.pid}.part`, 'half');
    keepPages(archive, 0, 2);
    await archive.close();
    expect(await archive.fetch('ada', [nameOf(archive, 0), nameOf(archive, 1)])).toHaveLength(2);
    expect(warnings).toEqual([]);
  });

  test('a salt that is erased while its pages are written', async () => {
    const archive = archiveOf();
    for (let i = 0; i < 20; i++) {
      keepPages(archive, i * 10, i * 10 + 10);
      if (i % 4 === 0) await eraseSalt(folder, 'ada');
      // Somebody who puts the folder back.
      if (i % 4 === 2) rmSync(saltFolder(folder, 'ada'));
    }
    await eraseSalt(folder, 'ada');
    keepPages(archive, 900, 910);
    await archive.close();
    expect(files()).toEqual([saltFolder(folder, 'ada')]);
    expect(warnings).toEqual([]);
  });
});

test('a salt is erased before there is a folder', async () => {
  await eraseSalt(folder, 'ada');
  await life([{ ...long, salt: 'ada' }]);
  expect((await archiveFigures(folder)).pages).toBe(0);
});

describe('a disk that cannot be written to', () => {
  afterEach(() => vi.useRealTimers());

  test('pauses writing and says so, and goes on when it can be', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    writeFileSync(folder, 'a file in its place');
    const archive = archiveOf();
    keepPages(archive, 0, 3);
    await archive.close();
    expect(warnings).toEqual([expect.stringContaining('takes no more pages')]);
    rmSync(folder);
    keepPages(archive, 0, 3);
    await archive.close();
    expect(archive.figures).toEqual({ found: 0, kept: 0, dropped: 6 });
    vi.setSystemTime(Date.now() + 61_000);
    keepPages(archive, 0, 3);
    await archive.close();
    expect(archive.figures).toEqual({ found: 0, kept: 3, dropped: 6 });
    expect(warnings).toHaveLength(2);
    expect(warnings[1]).toContain('takes pages again');
  });
});

describe('what is not as it was written is passed over with one line', () => {
  const damages: readonly (readonly [string, (file: string) => void])[] = [
    ['one bit', (file) => flip(file, statSync(file).size - 1)],
    ['its mark', (file) => flip(file, 0)],
    ['cut', (file) => writeFileSync(file, readFileSync(file).subarray(0, 100))],
    ['empty', (file) => writeFileSync(file, '')],
    ['longer', (file) => writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.of(1)]))],
    [
      'another page under its name',
      (file) => writeFileSync(file, readFileSync(files().find((one) => one !== file)!)),
    ],
    [
      'a link to another',
      (file) => {
        const copy = `${file}.copy`;
        writeFileSync(copy, readFileSync(file));
        rmSync(file);
        symlinkSync(copy, file);
      },
    ],
    [
      'a folder',
      (file) => {
        rmSync(file);
        mkdirSync(file);
      },
    ],
  ];
  test.each(damages)('%s', async (_what, damage) => {
    const [plain] = await life([long], { archive: null });
    await life([long]);
    for (const file of files()) damage(file);
    const [answer, again] = await life([long, long]);
    expect(answer).toEqual({ tokens: plain!.tokens, cachedTokens: 0 });
    expect(again!.tokens).toEqual(plain!.tokens);
    expect(warnings.length).toBeLessThanOrEqual(2);
    expect(warnings.length).toBeGreaterThan(0);
  });

  test('and written again', async () => {
    await life([long]);
    for (const file of files()) flip(file, 200);
    await life([long]);
    expect((await life([long]))[0]!.cachedTokens).toBe(64);
  });

  test('files of others stay', async () => {
    await life([long]);
    const foreign = join(dirname(files()[0]!), 'notes.txt');
    writeFileSync(foreign, 'mine');
    await life([long], { archive: settings({ maxBytes: 1, ttlMs: 1 }) });
    expect(files()).toEqual([foreign]);
  });
});

test('where nothing can be written the answers are the same, with one line', async () => {
  writeFileSync(folder, 'a file in its place');
  const [plain] = await life([long], { archive: null });
  const [answer] = await life([long]);
  expect(answer!.tokens).toEqual(plain!.tokens);
  expect(warnings).toEqual([expect.stringContaining('takes no more pages')]);
  // A device that is always full.
  const full = settings({ folder: '/dev/full/pages' });
  expect((await life([long], { archive: full }))[0]!.tokens).toEqual(plain!.tokens);
});

test('a salt is erased, and nothing comes back under it', async () => {
  await life([
    { ...long, salt: 'ada' },
    { ...long, salt: 'bob' },
  ]);
  expect(files()).toHaveLength(8);
  await eraseSalt(folder, 'ada');
  expect((await archiveFigures(folder)).pages).toBe(4);
  await life([{ ...long, salt: 'ada' }]);
  expect((await archiveFigures(folder)).pages).toBe(4);
  await eraseAll(folder);
  expect((await archiveFigures(folder)).pages).toBe(0);
  await life([{ ...long, salt: 'ada' }]);
  expect((await archiveFigures(folder)).pages).toBe(0);
  expect(warnings).toEqual([]);
});

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at]! ^= 1;
  writeFileSync(file, bytes);
}
