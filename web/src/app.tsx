/**
 * Owns: the whole page: what stands where, and the keys that work everywhere.
 * Refuses to know: what is in any of its parts.
 */
import { signal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { Composer } from './chat/composer.tsx';
import { SettingsPanel } from './chat/settings-panel.tsx';
import { Thread } from './chat/thread.tsx';
import { MachineView } from './machine/view.tsx';
import { HistoryPanel } from './shell/history-panel.tsx';
import { Icon } from './shell/icons.tsx';
import { KeyDialog } from './shell/key-dialog.tsx';
import { ModelPicker } from './shell/model-picker.tsx';
import { ThemeButton } from './shell/theme.tsx';
import { announcement, answering, startOver, stop, trouble } from './state/store.ts';

/** Whether panels lie over the page: then they go when something has been chosen. */
const isNarrow = () => matchMedia('(max-width: 60rem)').matches;

const historyOpen = signal(!isNarrow());
const settingsOpen = signal(false);
/** In the address, so that the browser's own way back works. */
const showsMachine = signal(location.hash === '#machine');

/** The page. */
export function App() {
  useEffect(() => {
    document.addEventListener('keydown', onKey);
    addEventListener('hashchange', onHash);
    return () => {
      document.removeEventListener('keydown', onKey);
      removeEventListener('hashchange', onHash);
    };
  }, []);
  return (
    <div
      class={`page${historyOpen.value ? ' with-history' : ''}${settingsOpen.value ? ' with-settings' : ''}`}
    >
      <button type="button" class="skip" onClick={focusComposer}>
        Write a message
      </button>
      {historyOpen.value && <HistoryPanel onLeave={leaveHistory} />}
      {(historyOpen.value || settingsOpen.value) && (
        <button type="button" class="scrim" aria-label="Close the panel" onClick={closePanels} />
      )}
      <div class="middle">
        <header class="bar">
          <button
            type="button"
            class="quiet icon"
            aria-label="Conversations"
            aria-expanded={historyOpen.value}
            title="Conversations (Ctrl+K)"
            onClick={() => toggle(historyOpen)}
          >
            <Icon name="menu" />
          </button>
          <ModelPicker />
          <span class="push" />
          <a
            class="button"
            href={showsMachine.value ? '#' : '#machine'}
            aria-label={showsMachine.value ? 'Back to the conversation' : 'Machine'}
            title={showsMachine.value ? 'Back to the conversation' : 'Machine: memory, speed, models'}
          >
            <Icon name={showsMachine.value ? 'chat' : 'machine'} />
          </a>
          <ThemeButton />
          <button
            type="button"
            class="quiet icon"
            aria-label="New conversation"
            title="New conversation"
            onClick={begin}
          >
            <Icon name="plus" />
          </button>
          <button
            type="button"
            class="quiet icon"
            aria-label="Settings"
            aria-expanded={settingsOpen.value}
            title="Settings"
            onClick={() => toggle(settingsOpen)}
          >
            <Icon name="settings" />
          </button>
        </header>
        {trouble.value === 'gone' && (
          <p class="banner" role="alert">
            The server does not answer. This page tries again every second.
          </p>
        )}
        <main class="main">
          {showsMachine.value ? (
            <MachineView />
          ) : (
            <>
              <Thread />
              <Composer />
            </>
          )}
        </main>
      </div>
      {settingsOpen.value && <SettingsPanel onClose={() => toggle(settingsOpen)} />}
      {trouble.value === 'key' && <KeyDialog />}
      <div class="unseen" aria-live="polite">
        {announcement}
      </div>
    </div>
  );
}

function toggle(panel: typeof historyOpen): void {
  panel.value = !panel.value;
}

function closePanels(): void {
  historyOpen.value = false;
  settingsOpen.value = false;
}

function leaveHistory(): void {
  location.hash = '';
  if (isNarrow()) historyOpen.value = false;
}

function onHash(): void {
  showsMachine.value = location.hash === '#machine';
}

function begin(): void {
  location.hash = '';
  startOver();
  focusComposer();
}

function focusComposer(): void {
  location.hash = '';
  focusOn('say');
}

/** At once where it is there, so that no key of a fast writer is lost; otherwise when it has been drawn. */
function focusOn(id: string): void {
  const there = document.getElementById(id);
  if (there) there.focus();
  else requestAnimationFrame(() => document.getElementById(id)?.focus());
}

function onKey(event: KeyboardEvent): void {
  const { key, ctrlKey, metaKey, shiftKey } = event;
  const command = ctrlKey || metaKey;
  if (key === 'Escape' && answering.value !== undefined) stop();
  else if (key === 'Escape' && isNarrow()) closePanels();
  else if (key === '/' && !isTyping(event.target)) focusComposer();
  else if (command && shiftKey && key.toLowerCase() === 'o') begin();
  else if (command && key.toLowerCase() === 'k') {
    historyOpen.value = true;
    focusOn('search');
  } else return;
  event.preventDefault();
}

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && target.matches('input, textarea, select');
}
