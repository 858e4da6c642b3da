/**
 * Owns: the golden ids of whole vocabularies, read from GGUF files of a sibling folder, as Hugging Face `tokenizers` and
 * llama.cpp give them.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { openFile } from '../../../src/formats/byte-source.node.ts';
import { readGguf } from '../../../src/formats/gguf/read.ts';
import { tokenizerFromGguf } from '../../../src/tokenizer/from-gguf.ts';
import type { Tokenizer } from '../../../src/tokenizer/tokenizer.ts';
import { disagreements, golden, goldenStrings } from './golden.ts';

const folder = new URL('../../../../shared/data/tokenizers/', import.meta.url);
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.gguf')) : [];

async function open(name: string): Promise<Tokenizer> {
  const source = await openFile(fileURLToPath(new URL(name, folder)));
  try {
    return tokenizerFromGguf((await readGguf(source)).metadata);
  } finally {
    await source.close();
  }
}

if (files.length === 0) {
  test.skip('whole vocabularies: skipped, there is no folder ../shared/data/tokenizers beside this checkout', () => {});
}

test.each(files)('%s gives the golden ids with its whole vocabulary', async (name) => {
  const family = name.replace(/^ggml-vocab-|\.gguf$/g, '');
  expect(disagreements(await open(name), golden(family), goldenStrings())).toEqual([]);
});

/** Texts with the ids that llama.cpp gives them, where a file of both lies beside the vocabulary. */
const judged = files.filter((name) => existsSync(new URL(`${name}.inp`, folder)));

test.each(judged)('%s gives the ids that llama.cpp gives', async (name) => {
  const read = (end: string) => readFileSync(new URL(name + end, folder), 'utf8');
  const texts = read('.inp').split('\n__ggml_vocab_test__\n');
  const lines = read('.out').split('\n');
  const tokenizer = await open(name);
  const got = texts.map((text) => tokenizer.encode(text, { special: true }).join(' '));
  expect(got).toEqual(lines.slice(0, texts.length).map((line) => line.trim()));
  expect(texts.length).toBeGreaterThan(40);
});
