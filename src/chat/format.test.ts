import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { pieceTokenizer } from '../../test/fixtures/piece-tokenizer.ts';
import {
  formatTokens,
  GOLDEN_FORMATS,
  goldenFormat,
  publishedTemplate,
  tokenizerFor,
} from '../../test/golden/chat-prompts/golden.ts';
import { CALLS } from './deepseek-tokens.ts';
import { chatFormatFor } from './format.ts';

const guide = readFileSync(new URL('../../docs/guide/chat-formats.md', import.meta.url), 'utf8');

test.each(GOLDEN_FORMATS)('the guide says of $name what the format says', ({ name, family }) => {
  const { supports } = goldenFormat(name);
  const row = guide.split('\n').find((line) => line.startsWith(`| \`${family}\``)) ?? '';
  const [, , , thinking, effort, tools] = row.split('|').map((cell) => cell.trim());
  expect(thinking).toBe(supports.thinking);
  expect(effort).toBe(supports.effort.length === 0 ? '–' : supports.effort.join(', '));
  const said = !supports.tools
    ? '–'
    : supports.thinking === 'off' && !supports.toolsWhileThinking
      ? 'without thinking'
      : 'yes';
  expect(tools?.replace('¹', '')).toBe(said);
});

test('a distill, whose vocabulary has no tokens for calls, refuses tools', () => {
  const { ordinary, specials } = formatTokens('deepseek-r1');
  const distill = pieceTokenizer({ ordinary, specials: specials.filter((token) => !token.includes('tool')) });
  const format = goldenFormat('deepseek-r1', distill);
  expect(distill.idOf(CALLS)).toBeUndefined();
  expect(() => format.render([{ role: 'user', content: 'Hi' }], { tools: [{ name: 'f' }] })).toThrow(
    'the chat format of this model (deepseek-r1): expected no tools, got 1; leave tools out',
  );
});

test('V4.1 is not taken for V4, nor V4 for V3.2', () => {
  const found = (template: string) =>
    chatFormatFor(new Map([['tokenizer.chat_template', template]]), tokenizerFor('deepseek-v4.1')).family;
  expect(found('{# <｜System｜><｜DSML｜ calls> #}')).toBe('deepseek-v4.1');
  expect(found('{# <｜DSML｜tool_calls> #}')).toBe('deepseek-v4');
  expect(found('{# <｜DSML｜function_calls> #}')).toBe('deepseek-v3.2');
});

test.each([
  ['deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja', 'deepseek-r1'],
  ['deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja', 'deepseek-r1'],
  ['deepseek-ai-DeepSeek-V3.1.jinja', 'deepseek-v3.1'],
  ['deepseek-ai-DeepSeek-V3.2.jinja', 'deepseek-v3.2'],
  ['deepseek-ai-DeepSeek-V4.jinja', 'deepseek-v4'],
  ['llama-cpp-deepseek-r1.jinja', 'deepseek-r1'],
])("llama.cpp's %s is of %s", (file, family) => {
  const template = publishedTemplate(file, 'llama-cpp');
  const metadata = new Map([['tokenizer.chat_template', template ?? '']]);
  expect(chatFormatFor(metadata, tokenizerFor(family)).family).toBe(family);
});
