/**
 * Owns: an answer as its tokens, coloured by how likely each was, with what might have stood there.
 * Refuses to know: where the figures come from.
 */
import { useSignal } from '@preact/signals';
import type { TokenChoice } from '../state/conversation.ts';

/** Bounds of the probability for each step of colour, the surest first. */
const STEPS = [0.9, 0.6, 0.3, 0.1, 0.02, 0] as const;

/** The tokens. One is looked at by pointing, by tapping or with the arrow keys. */
export function TokenView({ tokens }: { readonly tokens: readonly TokenChoice[] }) {
  const at = useSignal(0);
  const chosen = tokens[at.value];
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
        class="tokens"
        role="group"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: the arrow keys work in it
        tabIndex={0}
        aria-label="Tokens; the arrow keys go from one to the next"
        onKeyDown={onKeyDown}
      >
        {tokens.map(({ token, logprob }, i) => (
          // biome-ignore lint/a11y/noStaticElementInteractions: the group has the keys for it
          // biome-ignore lint/a11y/useKeyWithClickEvents: the group has the keys for it
          <span
            key={i}
            class={`token step-${STEPS.findIndex((least) => Math.exp(logprob) >= least)}${i === at.value ? ' chosen' : ''}`}
            onPointerEnter={() => (at.value = i)}
            onClick={() => (at.value = i)}
          >
            {token}
          </span>
        ))}
      </div>
      {chosen && (
        <table class="alternatives" aria-live="polite">
          <caption>
            <code>{visible(chosen.token)}</code> was taken with {percent(chosen.logprob)}
          </caption>
          <tbody>
            {chosen.top.map(({ token, logprob }) => (
              <tr key={token} class={token === chosen.token ? 'taken' : ''}>
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
      )}
    </div>
  );
}

function visible(token: string): string {
  return token.replaceAll('\n', '⏎').replaceAll(' ', '␣') || '∅';
}

function percent(logprob: number): string {
  const share = Math.exp(logprob) * 100;
  return share < 0.1 ? '< 0.1 %' : `${share.toFixed(1)} %`;
}
