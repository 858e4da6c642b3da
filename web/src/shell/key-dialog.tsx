/**
 * Owns: asking for a key where the server wants one.
 * Refuses to know: what keys may do.
 */
import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { key, useKey } from '../state/store.ts';

/** A dialog that stays until the server takes the key. */
export function KeyDialog() {
  const box = useRef<HTMLDialogElement>(null);
  const stays = useSignal(false);
  const refused = useSignal(key.value !== '');
  const waiting = useSignal(false);
  useEffect(() => box.current?.showModal(), []);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    waiting.value = true;
    const secret = new FormData(event.currentTarget as HTMLFormElement).get('key');
    await useKey(String(secret), stays.value);
    // Still here: it was not taken.
    waiting.value = false;
    refused.value = true;
  };
  return (
    <dialog ref={box} class="dialog" aria-labelledby="key-title" onCancel={(event) => event.preventDefault()}>
      <form onSubmit={(event) => void submit(event)}>
        <h2 id="key-title">This server asks for a key</h2>
        <p>Whoever runs it can make one with “hadal keys add NAME”.</p>
        {refused.value && (
          <p class="error" role="alert">
            The server refused this key.
          </p>
        )}
        <label>
          Key
          <input
            name="key"
            type="password"
            autoComplete="off"
            spellcheck={false}
            required
            placeholder="hdl_…"
          />
        </label>
        <label class="check">
          <input
            type="checkbox"
            checked={stays.value}
            onChange={(event) => {
              stays.value = event.currentTarget.checked;
            }}
          />
          Keep it in this browser
        </label>
        <button type="submit" class="strong" disabled={waiting.value}>
          Use this key
        </button>
      </form>
    </dialog>
  );
}
