/**
 * Owns: an answer as its tokens, coloured by how likely each was, with what might have stood there.
 * Refuses to know: where the figures come from.
 */
import { type Signal, useSignal, useSignalEffect } from '@preact/signals';
import { useMemo, useRef } from 'preact/hooks';
import type { TokenChoice } from '../state/conversation.ts';

/** Bounds of the probability for each step of colour, the surest first. */
const STEPS = [0.9, 0.6, 0.3, 0.1, 0.02, 0] as const;

/** The tokens. One is looked at by pointing, by tapping or with the arrow keys. */
export function TokenView({ tokens }: { readonly tokens: readonly TokenChoice[] }) {
  const at = useSignal(0);
  const box = useRef<HTMLDivElement>(null);
  // Thousands of tokens are made once; which one is looked at only changes a class.
  const spans = useMemo(() => tokens.map(tokenSpan), [tokens]);
  useSignalEffect(() => {
    const { value } = at;
    box.current?.querySelector('.chosen')?.classList.remove('chosen');
    box.current?.children[value]?.classList.add('chosen');
  });
  const look = ({ target }: Event) => {
    const index = [...(box.current?.children ?? [])].indexOf(target as Element);
    if (index >= 0) at.value = index;
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const by = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    at.value = Math.max(0, Math.min(tokens.length - 1, at.value + by));
  };
  return (
    <div class="token-view">
      {/* biome-ignore lint/a11y/useSemanticElements: one stop for the keyboard, whatever the number of tokens */}
      <div
        ref={box}
        class="tokens"
        role="group"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys work in it
        tabIndex={0}
        aria-label="Tokens; the arrow keys go from one to the next"
        onKeyDown={onKeyDown}
        onPointerOver={look}
        onClick={look}
      >
        {spans}
      </div>
      <Alternatives tokens={tokens} at={at} />
    </div>
  );
}

function tokenSpan({ token, logprob }: TokenChoice, i: number) {
  const step = STEPS.findIndex((least) => Math.exp(logprob) >= least);
  return (
    <span key={i} class={`token step-${step}`}>
      {token}
    </span>
  );
}

function Alternatives(props: { readonly tokens: readonly TokenChoice[]; readonly at: Signal<number> }) {
  const chosen = props.tokens[props.at.value];
  if (chosen === undefined) return null;
  return (
    <table class="alternatives" aria-live="polite">
      <caption>
        <code>{visible(chosen.token)}</code> was taken with {percent(chosen.logprob)}
      </caption>
      <tbody>
        {chosen.top.map(({ token, logprob }, i) => (
          <tr key={i} class={token === chosen.token ? 'taken' : ''}>
            <th scope="row">
              <code>{visible(token)}</code>
            </th>
            <td>
              <meter min={0} max={1} value={Math.exp(logprob)} aria-label="Probability" />
            </td>
            <td>{percent(logprob)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function visible(token: string): string {
  return token.replaceAll('\n', '⏎').replaceAll(' ', '␣') || '∅';
}

function percent(logprob: number): string {
  const share = Math.exp(logprob) * 100;
  return share < 0.1 ? '< 0.1 %' : `${share.toFixed(1)} %`;
}
