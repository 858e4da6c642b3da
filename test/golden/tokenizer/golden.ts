/**
 * Owns: reading the tokenizer golden files, and writing their vocabulary in the fields of a GGUF file.
 * Refuses to know: how the tokenizers work, what is expected of them beyond the files.
 *
 * The files are made by scripts/reference/tokenizer-strings.py and tokenizer-goldens.py; each carries its certificate.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { MetaValue } from '../../../src/formats/tensor-info.ts';
import { looksLikeControl } from '../../../src/tokenizer/vocabulary.ts';

/** The families that have a golden file, by the name `tokenizer.ggml.pre` gives them. */
export const FAMILIES = [
  'smollm',
  'gpt-2',
  'deepseek-llm',
  'deepseek-coder',
  'deepseek-v3',
  'llama-bpe',
  'qwen2',
] as const;

/** The parts of a tokenizer.json that golden files have. */
export interface TokenizerJson {
  readonly added_tokens: readonly {
    readonly id: number;
    readonly content: string;
    readonly special: boolean;
  }[];
  readonly normalizer: unknown;
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
  };
}

/** A golden file: ids by Hugging Face `tokenizers`. */
export interface Golden {
  /** The tokenizer.json with the part of its vocabulary that the strings can touch. */
  readonly tokenizer: TokenizerJson;
  /** Ids of every string, special tokens read as text. [strings][ids] */
  readonly plain: readonly (readonly number[])[];
  /** Ids with special tokens recognised, by number of the string, where they differ. */
  readonly special: Readonly<Record<string, readonly number[]>>;
  /** Ids with their text. */
  readonly decode: readonly (readonly [ids: readonly number[], text: string])[];
}

const read = (name: string): unknown =>
  JSON.parse(gunzipSync(readFileSync(new URL(name, import.meta.url))).toString());

/** The strings of every golden file. Example: `goldenStrings()[4] // 'Hello world'`. */
export function goldenStrings(): readonly string[] {
  return (read('strings.json.gz') as { strings: string[] }).strings;
}

/** The golden file of a family. Example: `golden('smollm').plain[4]`. */
export function golden(family: string): Golden {
  return read(`${family}.json.gz`) as Golden;
}

/** A vocabulary as llama.cpp's converter writes it, for {@link FAMILIES} name `pre`. Example: `ggufFields(tokenizer, 'qwen2')`. */
export function ggufFields({ model, added_tokens }: TokenizerJson, pre: string): Map<string, MetaValue> {
  const rows = new Map<number, readonly [text: string, kind: number]>();
  for (const [text, id] of Object.entries(model.vocab)) rows.set(id, [text, 1]);
  for (const { id, content, special } of added_tokens) {
    rows.set(id, [content, special || looksLikeControl(content) ? 3 : 4]);
  }
  const count = Math.max(...rows.keys()) + 1;
  const row = (_: unknown, id: number) => rows.get(id) ?? [`[PAD${id}]`, 5];
  const table = Array.from({ length: count }, row);
  return new Map<string, MetaValue>([
    ['tokenizer.ggml.model', 'gpt2'],
    ['tokenizer.ggml.pre', pre],
    ['tokenizer.ggml.tokens', table.map(([text]) => text as string)],
    ['tokenizer.ggml.token_type', Int32Array.from(table, ([, kind]) => kind as number)],
    ['tokenizer.ggml.merges', model.merges.map((rule) => (typeof rule === 'string' ? rule : rule.join(' ')))],
  ]);
}

/** Judges one tokenizer by a golden file; returns the first disagreements, each as a sentence. */
export function disagreements(
  tokenizer: {
    encode(text: string, options?: { special?: boolean }): Int32Array;
    decode(ids: readonly number[], options?: { special?: boolean }): string;
  },
  { plain, special, decode }: Golden,
  strings: readonly string[],
): string[] {
  const wrong: string[] = [];
  const check = (what: string, got: string, expected: string) => {
    if (got !== expected && wrong.length < 5) wrong.push(`${what}: got ${got}, expected ${expected}`);
  };
  strings.forEach((text, at) => {
    const quoted = JSON.stringify(text);
    const expected = plain[at] as readonly number[];
    check(quoted, tokenizer.encode(text).join(), expected.join());
    const withSpecial = tokenizer.encode(text, { special: true }).join();
    check(`${quoted} with special tokens`, withSpecial, (special[at] ?? expected).join());
  });
  for (const [ids, text] of decode) {
    check(
      `text of ${ids.join()}`,
      JSON.stringify(tokenizer.decode(ids, { special: true })),
      JSON.stringify(text),
    );
  }
  return wrong;
}

/** A small tokenizer with what Hugging Face `tokenizers` makes of random texts. */
export interface MannersCase {
  readonly name: string;
  readonly tokenizer: Readonly<Record<string, unknown>>;
  readonly texts: readonly string[];
  readonly plain: readonly (readonly number[])[];
  readonly special: readonly (readonly number[])[];
  /** Ids of 'the cat' with the tokens of the template. */
  readonly framed: readonly number[];
  /** The decoded ids of `special`. */
  readonly text: readonly string[];
}

/** The cases that scripts/reference/tokenizer-manners.py made. Example: `mannersCases()[0].name // 'byte-level 0'`. */
export function mannersCases(): readonly MannersCase[] {
  return (read('manners.json.gz') as { cases: MannersCase[] }).cases;
}
