/**
 * Owns: Markdown with mathematics as a list of blocks; a text that grows is read again from its last block only.
 * Refuses to know: how blocks are shown.
 */
import { Marked, type Token, type TokenizerAndRendererExtension } from 'marked';

export type { Token, Tokens } from 'marked';

/** Mathematics between marks. */
export interface MathToken {
  readonly type: 'math';
  readonly raw: string;
  readonly text: string;
  readonly display: boolean;
}

/** Where a formula may begin, and its whole form: `$$…$$`, `\[…\]`, `\(…\)`, `$…$` that hugs its formula. */
const BLOCK = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])(?:[ \t]*(?:\n|$))/;
const INLINE =
  /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|\$(?![\s$])((?:\\.|[^$\\\n])+?)(?<!\s)\$(?!\d))/;

const blockMath: TokenizerAndRendererExtension = {
  name: 'math',
  level: 'block',
  start: (source) => found(source.search(/\$\$|\\\[/)),
  tokenizer: (source) => mathOf(BLOCK.exec(source), true),
};
const inlineMath: TokenizerAndRendererExtension = {
  name: 'math',
  level: 'inline',
  start: (source) => found(source.search(/\$|\\\[|\\\(/)),
  tokenizer: (source) => mathOf(INLINE.exec(source), false),
};

/** A formula that has not ended yet: it may go on over blank lines. */
const OPEN = /^(\$\$|\\\[)/m;
/** A definition that links refer to. */
const REFERENCE = /^ {0,3}\[[^\]\n]+\]:/m;

const marked = new Marked({ gfm: true, extensions: [blockMath, inlineMath] });

function found(index: number): number | undefined {
  return index < 0 ? undefined : index;
}

function mathOf(match: RegExpExecArray | null, block: boolean): MathToken | undefined {
  if (match === null) return undefined;
  const [raw, ...texts] = match;
  const text = texts.find((one) => one !== undefined) ?? '';
  return { type: 'math', raw, text: text.trim(), display: block || /^(\$\$|\\\[)/.test(raw) };
}

/** The blocks of a text. */
export function blocksOf(text: string): Token[] {
  return marked.lexer(text);
}

/**
 * Reads a text that grows. Blocks before the last one are finished: they stay the same objects, so what shows them has
 * nothing to do.
 *
 * @example const read = growingBlocks(); read('# A\n\nb'); read('# A\n\nbc')[0]; // the same heading as before
 */
export function growingBlocks(): (text: string) => readonly Token[] {
  let before = '';
  let blocks: readonly Token[] = [];
  return (text) => {
    const open = blocks.findIndex(({ type, raw }) => type === 'paragraph' && OPEN.test(raw));
    const last = open < 0 ? blocks.findLastIndex(({ type }) => type !== 'space') : open;
    const done = text.startsWith(before) && last > 0 ? blocks.slice(0, last) : [];
    const at = done.reduce((sum, { raw }) => sum + raw.length, 0);
    const whole =
      done.length === 0 ||
      // Normalised line ends or tabs would shift what follows.
      text.slice(0, at) !== done.map(({ raw }) => raw).join('') ||
      // What a reference means may stand anywhere.
      REFERENCE.test(text);
    blocks = whole ? blocksOf(text) : [...done, ...blocksOf(text.slice(at))];
    before = text;
    return blocks;
  };
}
