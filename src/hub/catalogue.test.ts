import { expect, test } from 'vitest';
import { findModel, modelOfMetadata, parseCatalogue, readCatalogue } from './catalogue.ts';

test('the catalogue that ships is whole', () => {
  const [smollm2, ...others] = readCatalogue();
  expect(others).toEqual([]);
  expect(smollm2).toMatchObject({
    name: 'smollm2-135m',
    license: 'Apache-2.0',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  });
});

test('models are found by name, alias and metadata', () => {
  const models = readCatalogue();
  expect(findModel(models, 'SmolLM2')?.name).toBe('smollm2-135m');
  expect(findModel(models, '../smollm2')).toBeUndefined();
  expect(modelOfMetadata(models, new Map([['general.basename', 'smollm2']]))?.name).toBe('smollm2-135m');
  expect(modelOfMetadata(models, new Map([['general.basename', 'other']]))).toBeUndefined();
});

const [good] = JSON.parse(JSON.stringify(readCatalogue())) as [Record<string, unknown>];
test.each([
  ['no list', { models: 1 }, 'models: expected a list'],
  ['a path as file name', { models: [{ ...good, file: '../x' }] }, 'models[0].file'],
  ['a hidden file', { models: [{ ...good, file: '.x' }] }, 'models[0].file'],
  ['a path as name', { models: [{ ...good, name: 'a/b' }] }, 'models[0].name'],
  ['a short digest', { models: [{ ...good, sha256: 'ab' }] }, 'models[0].sha256'],
  ['no bytes', { models: [{ ...good, bytes: 0 }] }, 'models[0].bytes'],
  ['an unknown source', { models: [{ ...good, sources: [{ kind: 'ftp' }] }] }, 'sources[0].kind'],
  [
    'a moving revision',
    { models: [{ ...good, sources: [{ kind: 'hugging-face', repo: 'a/b', revision: 'main' }] }] },
    'revision',
  ],
  ['a name twice', { models: [good, good] }, 'each name once'],
])('%s is refused', (_, json, sentence) => {
  expect(() => parseCatalogue(json)).toThrow(sentence);
});
