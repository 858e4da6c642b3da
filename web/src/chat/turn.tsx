/**
 * Owns: one turn: what was said, what was thought, what was called, and what may be done with it.
 * Refuses to know: how answers come about, how texts are shown.
 */
import { useSignal } from '@preact/signals';
import type { ComponentChild } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';
import { Markdown } from '../markdown/markdown.tsx';
import { CopyButton } from '../shell/copy-button.tsx';
import { Icon } from '../shell/icons.tsx';
import type { Answering } from '../state/answering.ts';
import { type Figures, siblings, type Turn } from '../state/conversation.ts';
import { answering, chooseTurn, conversation, edit, models, regenerate } from '../state/store.ts';
import { CallsView } from './calls.tsx';
import { TokenView } from './token-view.tsx';

/** What a person said. */
export function UserView({ turn }: { readonly turn: Turn }) {
  const editing = useSignal(false);
  const { content, files = [] } = turn;
  if (editing.value) return <Editor turn={turn} onDone={() => (editing.value = false)} />;
  return (
    <article class="turn user" aria-label="You">
      <div class="bubble">
        {content}
        {files.length > 0 && (
          <ul class="files">
            {files.map(({ name, text }, i) => (
              <li key={i}>
                {name} <small>{text.length.toLocaleString('en')} characters</small>
              </li>
            ))}
          </ul>
        )}
      </div>
      <Actions turn={turn}>
        <CopyButton text={content} label="Copy this message" />
        <button
          type="button"
          class="quiet icon"
          aria-label="Edit this message"
          title="Edit: makes a branch"
          disabled={answering.value !== undefined}
          onClick={() => (editing.value = true)}
        >
          <Icon name="edit" />
        </button>
      </Actions>
    </article>
  );
}

function Editor({ turn, onDone }: { readonly turn: Turn; readonly onDone: () => void }) {
  const text = useSignal(turn.content);
  const field = useRef<HTMLTextAreaElement>(null);
  // Before anything else is typed: the browser's own autofocus waits for the next frame.
  useLayoutEffect(() => field.current?.focus(), []);
  const submit = (event: Event) => {
    event.preventDefault();
    onDone();
    void edit(turn, text.value);
  };
  return (
    <form class="turn editor" onSubmit={submit}>
      <textarea
        aria-label="Your message"
        rows={4}
        value={text.value}
        ref={field}
        onInput={(event) => (text.value = event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') onDone();
          if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
        }}
      />
      <div class="row">
        <button type="button" onClick={onDone}>
          Cancel
        </button>
        <button type="submit" class="strong">
          Ask this instead
        </button>
      </div>
    </form>
  );
}

/** What a tool gave back. */
export function ResultView({ turn }: { readonly turn: Turn }) {
  return (
    <article class="turn result" aria-label="Result of a tool">
      <span class="label">Result</span>
      <pre>{turn.content}</pre>
    </article>
  );
}

/** An answer, finished or being written. */
export function AnswerView({ turn, live }: { readonly turn: Turn; readonly live?: Answering }) {
  const showsTokens = useSignal(false);
  const shown = live?.progress.value ?? { ...turn, stage: '', rate: undefined };
  const { content, reasoning = '', thoughtSeconds, calls = [], stage, rate } = shown;
  const { end, error, figures, tokens } = turn;
  const busy = answering.value !== undefined;
  return (
    <article class="turn answer" aria-label={`Answer of ${turn.model}`} aria-busy={live !== undefined}>
      {reasoning !== '' && (
        <Thinking text={reasoning} seconds={thoughtSeconds} live={live !== undefined && content === ''} />
      )}
      {stage !== '' && <p class="stage">{stageText(stage)}</p>}
      {showsTokens.value && tokens ? (
        <TokenView tokens={tokens} />
      ) : (
        <Markdown text={content} live={live !== undefined} />
      )}
      <CallsView turn={turn} calls={calls} />
      {end === 'failed' && (
        <p class="error" role="alert">
          {error}
        </p>
      )}
      {end === 'stopped' && <p class="note">Stopped here.</p>}
      {end === 'length' && <p class="note">Cut off: the limit of tokens was reached.</p>}
      {live ? (
        <p class="figures">{rate === undefined ? ' ' : `${rate.toFixed(1)} tokens/s`}</p>
      ) : (
        <Actions turn={turn} after={figures && <FiguresView figures={figures} model={turn.model} />}>
          <CopyButton text={content} label="Copy this answer" />
          <button
            type="button"
            class="quiet icon"
            aria-label="Answer again"
            title="Answer again: makes a branch"
            disabled={busy}
            onClick={() => void regenerate(turn)}
          >
            <Icon name="retry" />
          </button>
          <button
            type="button"
            class="quiet icon"
            aria-label={tokens ? 'Show tokens' : 'Answer again with log-probabilities of its tokens'}
            title={tokens ? 'How likely each token was' : 'Answer again, and show how likely each token was'}
            aria-pressed={showsTokens.value}
            disabled={busy && !tokens}
            onClick={() => {
              if (tokens) showsTokens.value = !showsTokens.value;
              else void regenerate(turn, { tokens: true });
            }}
          >
            <Icon name="tokens" />
          </button>
        </Actions>
      )}
    </article>
  );
}

/** What the server says of its progress, in words. */
function stageText(stage: string): string {
  const [, what = '', done, total] = /^(\w+).*?(\d+)(?:\/(\d+))?$/.exec(stage) ?? [];
  const share = `${Math.floor((Number(done) / Math.max(1, Number(total))) * 100)} %`;
  if (what === 'loading') return `Loading the model: ${share}`;
  if (what === 'prefill') return `Reading the prompt: ${share}`;
  if (what === 'queued') return `Waiting behind ${done}`;
  return 'Waiting for the first token…';
}

function Thinking({
  text,
  seconds,
  live,
}: {
  readonly text: string;
  readonly seconds: number | undefined;
  readonly live: boolean;
}) {
  return (
    <details class="thinking" open={live}>
      <summary>{live ? 'Thinking…' : `Thought for ${shownSeconds(seconds)}`}</summary>
      <Markdown text={text} live={live} />
    </details>
  );
}

function shownSeconds(seconds: number | undefined): string {
  if (seconds === undefined) return 'a while';
  return seconds < 60
    ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function FiguresView({ figures, model }: { readonly figures: Figures; readonly model: string | undefined }) {
  const { promptTokens, cachedTokens, answerTokens, seconds, firstSeconds } = figures;
  const contextTokens = models.value.find(({ id }) => id === model)?.hadal.context_tokens;
  const rate =
    seconds > 0 && answerTokens > 1 ? `${((answerTokens - 1) / seconds).toFixed(1)} tokens/s` : undefined;
  const left = contextTokens === undefined ? undefined : contextTokens - promptTokens - answerTokens;
  const parts = [
    `${count(answerTokens)} tokens`,
    rate,
    `first after ${shownSeconds(firstSeconds)}`,
    `prompt ${count(promptTokens)}${cachedTokens > 0 ? `, ${count(cachedTokens)} from the cache` : ''}`,
    left === undefined ? undefined : `${count(Math.max(0, left))} of context left`,
  ];
  return <p class="figures">{parts.filter(Boolean).join(' · ')}</p>;
}

function count(tokens: number): string {
  return tokens.toLocaleString('en');
}

/** What may be done with a turn, and which of its branches is shown. */
function Actions({
  turn,
  children,
  after,
}: {
  readonly turn: Turn;
  readonly children: ComponentChild;
  readonly after?: ComponentChild;
}) {
  const all = siblings(conversation.value, turn);
  const at = all.findIndex(({ id }) => id === turn.id);
  const step = (by: number, label: string, icon: 'left' | 'right') => {
    const to = all[at + by];
    return (
      <button
        type="button"
        class="quiet icon"
        aria-label={label}
        disabled={to === undefined}
        onClick={() => to && void chooseTurn(to)}
      >
        <Icon name={icon} />
      </button>
    );
  };
  return (
    <div class="actions">
      {all.length > 1 && (
        <span class="branches">
          {step(-1, 'Branch before', 'left')}
          <span>{`${at + 1} of ${all.length}`}</span>
          {step(1, 'Branch after', 'right')}
        </span>
      )}
      {children}
      {after}
    </div>
  );
}
