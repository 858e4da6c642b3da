/**
 * Owns: the list of conversations: searching, opening, exporting, deleting.
 * Refuses to know: how they are kept.
 */
import { useSignal } from '@preact/signals';
import { useRef } from 'preact/hooks';
import {
  answering,
  conversation,
  forget,
  forgetAll,
  found,
  keeps,
  open,
  startOver,
  summaries,
  whole,
} from '../state/store.ts';
import { exported, saveFile } from './export.ts';
import { Icon } from './icons.tsx';

/** The panel; `onLeave` is called when a conversation has been chosen. */
export function HistoryPanel({ onLeave }: { readonly onLeave: () => void }) {
  const matching = useSignal<ReadonlySet<string> | undefined>(undefined);
  const shown = summaries.value.filter(({ id }) => matching.value?.has(id) ?? true);
  const searches = useRef(0);
  const search = async (words: string) => {
    const own = ++searches.current;
    const ids = await found(words);
    // A search that took longer than one begun after it is over.
    if (own === searches.current) matching.value = ids;
  };
  return (
    <nav class="panel history" aria-label="Conversations">
      <div class="brand">
        <img src="/icon.svg" alt="" width="28" height="28" />
        <span>Hadal</span>
      </div>
      <button
        type="button"
        class="wide"
        onClick={() => {
          startOver();
          onLeave();
        }}
      >
        <Icon name="plus" /> New conversation
      </button>
      <label class="search">
        <Icon name="search" />
        <span class="unseen">Search conversations</span>
        <input
          id="search"
          type="search"
          placeholder="Search"
          autoComplete="off"
          onInput={(event) => void search(event.currentTarget.value)}
        />
      </label>
      <ul class="conversations">
        {shown.map(({ id, title }) => (
          <li key={id} class={id === conversation.value.id ? 'current' : ''}>
            <button
              type="button"
              class="title"
              aria-current={id === conversation.value.id ? 'page' : undefined}
              onClick={() => {
                void open(id);
                onLeave();
              }}
            >
              {answering.value?.conversationId === id && (
                <span class="pulse" title="an answer is being written" />
              )}
              {title}
            </button>
            <button
              type="button"
              class="quiet icon"
              title="Export as Markdown and JSON"
              aria-label={`Export ${title}`}
              onClick={() => void exportOne(id)}
            >
              <Icon name="download" />
            </button>
            <button
              type="button"
              class="quiet icon"
              title="Delete"
              aria-label={`Delete ${title}`}
              onClick={() => confirm(`Delete “${title}”? It is nowhere else.`) && void forget(id)}
            >
              <Icon name="trash" />
            </button>
          </li>
        ))}
      </ul>
      {matching.value && shown.length === 0 && <p class="hint">Nothing found.</p>}
      <footer>
        {keeps.value === false && (
          <p class="hint">This browser keeps nothing: conversations end with the page.</p>
        )}
        {summaries.value.length > 0 && (
          <button
            type="button"
            class="quiet"
            onClick={() => confirm('Delete all conversations? They are nowhere else.') && void forgetAll()}
          >
            Delete all
          </button>
        )}
        <p class="hint">Kept in this browser only.</p>
      </footer>
    </nav>
  );
}

async function exportOne(id: string): Promise<void> {
  const one = await whole(id);
  if (one === undefined) return;
  const name = one.title.replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40) || 'conversation';
  saveFile(`${name}.md`, exported(one));
  saveFile(`${name}.json`, `${JSON.stringify(one, undefined, 2)}\n`);
}
