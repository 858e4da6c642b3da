/**
 * Owns: blocks and inlines of Markdown as elements. HTML in a text is text.
 * Refuses to know: how a text is read, whose it is.
 */
import type { ComponentChild, VNode } from 'preact';
import { useMemo, useRef } from 'preact/hooks';
import { Lazy } from '../shell/lazy.tsx';
import { CodeBlock } from './code.tsx';
import { growingBlocks, type MathToken, type Token, type Tokens } from './lex.ts';
import { Formula } from './math.tsx';

/** A text; a live one grows at its end, where it is looked at. */
export function Markdown({ text, live = false }: { readonly text: string; readonly live?: boolean }) {
  const read = useMemo(growingBlocks, []);
  // The same token is the same element, which Preact then leaves as it is.
  const shown = useRef(new WeakMap<Token, VNode>());
  const blocks = read(text);
  return (
    <div class="markdown">
      {blocks.map((token, i) => {
        if (token.type === 'space' || token.type === 'def') return null;
        const known = shown.current.get(token);
        if (known !== undefined) return known;
        const made = (
          <Lazy key={i} characters={token.raw.length} startsShown={live}>
            {() => block(token)}
          </Lazy>
        );
        shown.current.set(token, made);
        return made;
      })}
    </div>
  );
}

function block(given: Token): ComponentChild {
  const token = given as Tokens.Generic;
  switch (token.type) {
    case 'heading': {
      // The conversation itself has the first level.
      const Level = `h${Math.min(6, (token as Tokens.Heading).depth + 1)}` as 'h2';
      return <Level>{inlines(token.tokens)}</Level>;
    }
    case 'paragraph':
      return <p>{inlines(token.tokens)}</p>;
    case 'code': {
      const { text, lang = '' } = token as Tokens.Code;
      return <CodeBlock code={text} language={/^[\w+#.-]*/.exec(lang)?.[0] ?? ''} />;
    }
    case 'math': {
      const { text, display } = token as unknown as MathToken;
      return <Formula text={text} display={display} />;
    }
    case 'blockquote':
      return <blockquote>{token.tokens?.map(block)}</blockquote>;
    case 'list':
      return list(token as Tokens.List);
    case 'table':
      return table(token as Tokens.Table);
    case 'hr':
      return <hr />;
    case 'space':
    case 'def':
      return null;
    case 'text':
      return token.tokens ? inlines(token.tokens) : token.text;
    case 'checkbox':
      return (
        <input
          type="checkbox"
          disabled
          checked={token.checked}
          aria-label={token.checked ? 'done' : 'to do'}
        />
      );
    default:
      return <p>{token.raw}</p>;
  }
}

function list({ ordered, start, items }: Tokens.List): ComponentChild {
  const inner = items.map((item, i) => <li key={i}>{item.tokens.map(block)}</li>);
  return ordered ? <ol start={start === '' ? 1 : start}>{inner}</ol> : <ul>{inner}</ul>;
}

function table({ header, rows, align }: Tokens.Table): ComponentChild {
  const side = (i: number) => ({ class: align[i] ? `to-${align[i]}` : '' });
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a mouse
    <div class="table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {header.map((cell, i) => (
              <th key={i} {...side(i)}>
                {inlines(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, r) => (
            <tr key={r}>
              {row.map((cell, i) => (
                <td key={i} {...side(i)}>
                  {inlines(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlines(tokens: readonly Token[] = []): ComponentChild {
  return tokens.map(inline);
}

function inline(given: Token): ComponentChild {
  const token = given as Tokens.Generic;
  switch (token.type) {
    case 'strong':
      return <strong>{inlines(token.tokens)}</strong>;
    case 'em':
      return <em>{inlines(token.tokens)}</em>;
    case 'del':
      return <del>{inlines(token.tokens)}</del>;
    case 'codespan':
      return <code>{token.text}</code>;
    case 'br':
      return <br />;
    case 'math': {
      const { text, display } = token as unknown as MathToken;
      return <Formula text={text} display={display} />;
    }
    case 'link':
      return link(token as Tokens.Link);
    case 'image':
      // Loading it would tell somebody elsewhere that this was read.
      return <span class="image">{`[image: ${token.text || token.href}]`}</span>;
    case 'escape':
    case 'text':
      return token.tokens ? inlines(token.tokens) : token.text;
    default:
      return token.raw;
  }
}

/** Only addresses of the web are links; the browser tells them nothing of this page. */
function link({ href, tokens, text }: Tokens.Link): ComponentChild {
  if (!/^(https?:|mailto:)/i.test(href)) return `${text} (${href})`;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow" title={href}>
      {inlines(tokens)}
    </a>
  );
}
