/**
 * Owns: the colours of code: a text and its language as a tree of scopes.
 * Refuses to know: elements. Nothing here makes HTML.
 */
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import c from 'highlight.js/lib/languages/c';
import cpp from 'highlight.js/lib/languages/cpp';
import css from 'highlight.js/lib/languages/css';
import diff from 'highlight.js/lib/languages/diff';
import go from 'highlight.js/lib/languages/go';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import python from 'highlight.js/lib/languages/python';
import rust from 'highlight.js/lib/languages/rust';
import sql from 'highlight.js/lib/languages/sql';
import typescript from 'highlight.js/lib/languages/typescript';
import xml from 'highlight.js/lib/languages/xml';
import yaml from 'highlight.js/lib/languages/yaml';

const LANGUAGES = {
  bash,
  c,
  cpp,
  css,
  diff,
  go,
  java,
  javascript,
  json,
  python,
  rust,
  sql,
  typescript,
  xml,
  yaml,
};
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

/** A piece of code: plain, or of a scope such as `keyword`. */
export type CodePiece = string | { readonly scope?: string; readonly children: readonly CodePiece[] };

/** Longer code is shown without colours: they would hold up the page. */
const MOST_CHARACTERS = 50_000;

/** The pieces of a code; plain where the language is not known. Example: `highlighted('1', 'json')` */
export function highlighted(code: string, language: string): readonly CodePiece[] {
  if (hljs.getLanguage(language) === undefined || code.length > MOST_CHARACTERS) return [code];
  const result = hljs.highlight(code, { language, ignoreIllegals: true });
  // The tree that the library itself makes its HTML of.
  return (result._emitter as unknown as { rootNode: { children: CodePiece[] } }).rootNode.children;
}
