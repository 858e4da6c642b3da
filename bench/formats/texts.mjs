/**
 * Owns: the texts whose cutting is measured: a mixed one, and those that a quadratic tokenizer would never finish.
 * Refuses to know: tokenizers.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const BYTES = 1_000_000;

/** 1 MB of this repository's code and prose, with the strings of the tokenizer tests (scripts, emoji, spaces) among it. */
export function mixedText(root) {
  const files = execFileSync('git', ['ls-files', 'src', 'native/src', 'docs', '*.md'], { cwd: root })
    .toString()
    .trim()
    .split('\n');
  const strings = JSON.parse(
    gunzipSync(readFileSync(join(root, 'test/golden/tokenizer/strings.json.gz'))).toString(),
  ).strings;
  const code = files.map((path) => readFileSync(join(root, path), 'utf8'));
  const all = code.flatMap((text, i) => [text, strings.slice(i * 8, i * 8 + 8).join('\n')]).join('\n');
  return upTo(all.repeat(Math.ceil(BYTES / all.length)));
}

/** Texts by name, 1 MB each. */
export function adversaries() {
  let state = 1;
  const random = (n) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const bytes = Uint8Array.from({ length: BYTES }, () => random(256));
  const letters = Array.from({ length: BYTES }, () => String.fromCharCode(0x61 + random(26))).join('');
  return [
    ['one letter', 'a'.repeat(BYTES)],
    ['spaces', ' '.repeat(BYTES)],
    ['line breaks', '\n'.repeat(BYTES)],
    ['one digit', '7'.repeat(BYTES)],
    ['one bracket', '('.repeat(BYTES)],
    ['one Chinese character', '\u6df1'.repeat(Math.floor(BYTES / 3))],
    ['one emoji', '\u{1f30a}'.repeat(BYTES / 4)],
    ['random letters, one word', letters],
    ['random bytes', new TextDecoder().decode(bytes).slice(0, BYTES / 2)],
    ['spaces and line breaks', ' \n'.repeat(BYTES / 2)],
    ['unclosed special tokens', '<\uff5cUser'.repeat(BYTES / 8)],
  ];
}

/** The beginning of a text, of 1 MB in UTF-8. */
function upTo(text) {
  const bytes = new TextEncoder().encode(text.slice(0, BYTES)).subarray(0, BYTES);
  return new TextDecoder().decode(bytes);
}
