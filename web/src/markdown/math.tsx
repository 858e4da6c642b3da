/**
 * Owns: formulas as MathML elements, made one by one from temml's tree.
 * Refuses to know: where a formula stands in a text.
 */
import { useSignal } from '@preact/signals';
import { type ComponentChild, h } from 'preact';
import { useEffect } from 'preact/hooks';

interface MathNode {
  readonly type?: string;
  readonly text?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly classes?: readonly string[];
  readonly style?: Readonly<Record<string, string>>;
  readonly children?: readonly MathNode[];
}

/** Everything else that a tree might hold is shown as its text. */
const ELEMENTS = new Set(
  (
    'math mrow mi mn mo mtext mspace ms mfrac msqrt mroot mstyle merror mpadded mphantom msub msup msubsup munder mover ' +
    'munderover mmultiscripts mprescripts none mtable mtr mtd menclose semantics'
  ).split(' '),
);
const ATTRIBUTES = new Set(
  (
    'mathvariant displaystyle scriptlevel stretchy symmetric largeop movablelimits accent accentunder lspace rspace ' +
    'minsize maxsize fence separator form linethickness width height depth voffset notation columnalign rowspacing ' +
    'columnspacing display dir mathcolor mathbackground columnlines rowlines'
  ).split(' '),
);

/** A formula; its source until it has been set, or where it has mistakes. */
export function Formula({ text, display }: { readonly text: string; readonly display: boolean }) {
  const tree = useSignal<MathNode | undefined>(undefined);
  useEffect(() => {
    let here = true;
    // Set only where there is something to set: the library is a third of the page.
    void import('temml').then(({ default: temml }) => {
      if (!here) return;
      try {
        tree.value = temml.__renderToMathMLTree(text, {
          displayMode: display,
          trust: false,
          strict: false,
          maxExpand: 200,
        });
      } catch {
        tree.value = undefined;
      }
    });
    return () => {
      here = false;
    };
  }, [text, display]);
  if (tree.value === undefined) return <code class="formula-source">{text}</code>;
  return <span class={display ? 'formula display' : 'formula'}>{element(tree.value)}</span>;
}

function element({
  type,
  text,
  attributes = {},
  classes = [],
  style = {},
  children = [],
}: MathNode): ComponentChild {
  if (text !== undefined) return text;
  const inner = children.map(element);
  if (type === undefined || !ELEMENTS.has(type)) return inner;
  const allowed = Object.entries(attributes).filter(([name]) => ATTRIBUTES.has(name));
  const more = { ...(classes.length > 0 ? { class: classes.join(' ') } : {}), style: { ...style } };
  return h(type, { ...Object.fromEntries(allowed), ...more }, ...inner);
}
