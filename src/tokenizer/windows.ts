/**
 * Owns: cutting a text in windows of tokens of one length, as llama.cpp's perplexity and imatrix tools do.
 * Refuses to know: what is computed of them.
 */
import { HadalError } from '../error.ts';
import type { Tokenizer } from './tokenizer.ts';

/**
 * Whole windows of `tokens` tokens, at most `most` of them, what is left over left out. Each begins with the
 * beginning-of-sequence token, in the place of its first one, where the model wants that.
 *
 * @throws HadalError `text-too-short` for less than one window.
 * @example const [first] = cutWindows(tokenizer, text, 512);
 */
export function cutWindows(
  tokenizer: Tokenizer,
  text: string,
  tokens: number,
  most = Number.POSITIVE_INFINITY,
): Int32Array[] {
  const ids = tokenizer.encode(text, { bos: true });
  const count = Math.min(most, Math.floor(ids.length / tokens));
  if (count < 1) {
    throw new HadalError('text-too-short', {
      what: 'the text',
      expected: `at least ${tokens} tokens`,
      got: `${ids.length}`,
      next: 'give a longer text, or a smaller window',
    });
  }
  return Array.from({ length: count }, (_, w) => {
    const window = ids.slice(w * tokens, (w + 1) * tokens);
    if (tokenizer.addsBos && tokenizer.bosId !== undefined) window[0] = tokenizer.bosId;
    return window;
  });
}
