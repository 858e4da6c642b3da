/** Owns: a text that grows is read as the whole text would be, and finished blocks stay the same objects. */
import { describe, expect, test } from 'vitest';
import { blocksOf, growingBlocks } from './lex.ts';

const TEXTS: Readonly<Record<string, string>> = {
  headings: '# A\n\nUnder\n===\n\ntext\n---\n\n### B ###\n\nend',
  lists: '- a\n- b\n\n  more of b\n\n- c\n  1. d\n  2. e\n\nafter\n\n* x\n\n\n* y\n',
  code: 'Look:\n\n```ts\nconst a = 1;\n\n# no heading\n```\n\n~~~\nopen ``` inside\n~~~\n\n    indented\n\ndone',
  tables: 'before\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n| 3 | 4 |\n\nafter',
  quotes: '> a\n> b\nlazy\n\n> - c\n\nend',
  html: 'a <b>bold</b>\n\n<div>\n\n*inside*\n\n</div>\n\n<script>alert(1)</script>\n\nend',
  mathematics:
    'So $a^2$ and\n\n$$\n\\frac{1}{2}\n\n+ x\n$$\n\nand \\(b\\) then\n\n\\[c\\]\n\nat $5 or 6$ each',
  references:
    'See [a] and [b].\n\ntext\n\n[a]: https://example.org\n\nmore [a]\n\n[b]: https://example.com\n',
  'line ends': 'a\r\n\r\nb\r\n- c\r\n\r\n\td\n\ne',
};

describe.each(Object.entries(TEXTS))('%s', (_, text) => {
  test.each([1, 2, 3, 7])('in pieces of %d characters', (size) => {
    const read = growingBlocks();
    for (let end = size; end < text.length + size; end += size) {
      const part = text.slice(0, end);
      expect([...read(part)], JSON.stringify(part)).toEqual([...blocksOf(part)]);
    }
  });
});

test('finished blocks stay the same objects', () => {
  const read = growingBlocks();
  const before = read('# A\n\nfirst\n\nsecond');
  const after = read('# A\n\nfirst\n\nsecond and more\n\nthird');
  expect(after[0]).toBe(before[0]);
  expect(after.filter(({ type }) => type === 'paragraph')[0]).toBe(
    before.find(({ type }) => type === 'paragraph'),
  );
});

test('a text that is another one is read anew', () => {
  const read = growingBlocks();
  read('# A\n\nfirst\n\nsecond');
  expect([...read('other')]).toEqual([...blocksOf('other')]);
});

test('dollars that are money are no mathematics', () => {
  const types = JSON.stringify(blocksOf('It costs $5, or $6 for two; $x$ is not known.'));
  expect(types.match(/"type":"math"/g)).toHaveLength(1);
  expect(types).toContain('"text":"x"');
});
