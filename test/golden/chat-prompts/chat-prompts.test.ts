import { describe, expect, test } from 'vitest';
import { encodePrompt, renderPrompt } from '../../../src/chat/prompt.ts';
import { GOLDEN_FORMATS, goldenFormat, promptCases, tokenizerFor } from './golden.ts';

describe.each(GOLDEN_FORMATS)('$name', ({ name, family }) => {
  const tokenizer = tokenizerFor(name);
  const format = goldenFormat(name, tokenizer);
  const cases = promptCases(name);

  test('is recognised', () => {
    expect(format.family).toBe(family);
  });

  test('at least 200 conversations give the prompts that the oracle writes', () => {
    expect(cases.length).toBeGreaterThanOrEqual(200);
    for (const { messages, options, prompt } of cases) {
      expect(renderPrompt(format.render(messages, options).parts)).toBe(prompt);
    }
  });

  test('special tokens stand where the oracle has them', () => {
    for (const { messages, options, specials } of cases) {
      if (specials === undefined) continue;
      const controls = format.render(messages, options).parts.filter(({ kind }) => kind === 'control');
      expect(controls.map(({ text }) => text)).toEqual(specials);
    }
  });

  test('whatever messages say, the ids hold only the tokens that the format wrote', () => {
    for (const { messages, options } of cases) {
      const { parts } = format.render(messages, options);
      const ids = encodePrompt(tokenizer, parts, format.marks);
      const marked = Array.from(ids).filter((id) => id >= 256);
      const written = parts.filter(({ kind }) => kind === 'control').map(({ text }) => tokenizer.idOf(text));
      expect(marked).toEqual(written);
    }
  });
});
