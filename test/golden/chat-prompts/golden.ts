/**
 * Owns: reading the golden prompts, and the chat formats that are judged by them.
 * Refuses to know: what a format does.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import type { Message } from '../../../src/chat/delta.ts';
import { type ChatFormat, chatFormatFor } from '../../../src/chat/format.ts';
import type { RenderOptions } from '../../../src/chat/support.ts';
import type { Tokenizer } from '../../../src/tokenizer/tokenizer.ts';
import { pieceTokenizer } from '../../fixtures/piece-tokenizer.ts';

/** A conversation, what was asked, and the prompt that the oracle wrote. */
export interface PromptCase {
  readonly messages: readonly Message[];
  readonly options: RenderOptions;
  readonly prompt: string;
  /** Where the oracle tells: the texts of the prompt that are special tokens, in order. */
  readonly specials?: readonly string[];
}

/** Formats with golden prompts, and what their files say: a template of test/golden/chat-templates, or an architecture. */
export const GOLDEN_FORMATS: readonly {
  readonly name: string;
  readonly family: string;
  readonly architecture?: string;
}[] = [
  { name: 'deepseek-llm', family: 'deepseek-llm' },
  { name: 'deepseek-coder', family: 'deepseek-coder' },
  { name: 'deepseek-v3', family: 'deepseek-v3' },
  { name: 'deepseek-r1', family: 'deepseek-r1' },
  { name: 'deepseek-r1-0528', family: 'deepseek-r1' },
  { name: 'deepseek-v3.1', family: 'deepseek-v3.1' },
  { name: 'deepseek-v3.2', family: 'deepseek-v3.2', architecture: 'deepseek32' },
  { name: 'deepseek-v4', family: 'deepseek-v4', architecture: 'deepseek4' },
  { name: 'deepseek-v4.1', family: 'deepseek-v4.1', architecture: 'deepseek4' },
];

/** Control tokens of all DeepSeek vocabularies, `<｜System｜>` apart. */
const CONTROLS = [
  '<｜begin▁of▁sentence｜>',
  '<｜end▁of▁sentence｜>',
  '<|EOT|>',
  '<｜User｜>',
  '<｜Assistant｜>',
  ...['calls', 'call', 'outputs', 'output'].flatMap((name) => [
    `<｜tool▁${name}▁begin｜>`,
    `<｜tool▁${name}▁end｜>`,
  ]),
  '<｜tool▁sep｜>',
  '<｜fim▁begin｜>',
  '<｜fim▁hole｜>',
  '<｜fim▁end｜>',
];

const THINKING = /r1|v3\.|v4/;

/** The tokens of a format: control tokens, and, as ordinary ones, those of thinking and calls. */
export function formatTokens(name: string): {
  readonly ordinary: readonly string[];
  readonly specials: readonly string[];
} {
  const system = name === 'deepseek-v4.1' ? ['<｜System｜>'] : [];
  return {
    ordinary: THINKING.test(name) ? ['<think>', '</think>', '｜DSML｜'] : [],
    specials: [...CONTROLS, ...system],
  };
}

/** A vocabulary of bytes with the tokens of a format. */
export function tokenizerFor(name: string): Tokenizer {
  return pieceTokenizer(formatTokens(name));
}

/** The template of a name, as a model's publisher (`deepseek`) or llama.cpp has it. */
export function publishedTemplate(
  name: string,
  collection: 'deepseek' | 'llama-cpp' = 'deepseek',
): string | undefined {
  const file = new URL(`../chat-templates/${collection}.json`, import.meta.url);
  const { templates } = JSON.parse(readFileSync(file, 'utf8')) as {
    templates: { name: string; template: string }[];
  };
  return templates.find((entry) => entry.name === name)?.template;
}

/** The format that a file of this name has, found as for any file. */
export function goldenFormat(name: string, tokenizer: Tokenizer = tokenizerFor(name)): ChatFormat {
  const template = publishedTemplate(name);
  const architecture = GOLDEN_FORMATS.find((known) => known.name === name)?.architecture ?? 'llama';
  const metadata = new Map<string, string>([['general.architecture', architecture]]);
  if (template !== undefined) metadata.set('tokenizer.chat_template', template);
  return chatFormatFor(metadata, tokenizer);
}

/** The cases of a format. */
export function promptCases(name: string): readonly PromptCase[] {
  const bytes = gunzipSync(readFileSync(new URL(`${name}.json.gz`, import.meta.url)));
  return (JSON.parse(bytes.toString('utf8')) as { cases: PromptCase[] }).cases;
}
