/**
 * Owns: a block of code: its colours, its language, copying it.
 * Refuses to know: where it comes from.
 */
import type { ComponentChild } from 'preact';
import { useMemo } from 'preact/hooks';
import { CopyButton } from '../shell/copy-button.tsx';
import { type CodePiece, highlighted } from './highlight.ts';

/** A block of code. */
export function CodeBlock({ code, language }: { readonly code: string; readonly language: string }) {
  const pieces = useMemo(() => highlighted(code, language), [code, language]);
  return (
    <figure class="code">
      <figcaption>
        <span>{language || 'text'}</span>
        <CopyButton text={code} label="Copy the code" />
      </figcaption>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a mouse */}
      <pre tabIndex={0}>
        <code>{pieces.map(piece)}</code>
      </pre>
    </figure>
  );
}

function piece(one: CodePiece): ComponentChild {
  if (typeof one === 'string') return one;
  const inner = one.children.map(piece);
  return one.scope === undefined ? inner : <span class={`hl-${one.scope.split('.')[0]}`}>{inner}</span>;
}
