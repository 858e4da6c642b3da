/**
 * Owns: writing a message, with text files, and sending it.
 * Refuses to know: what becomes of it.
 */
import { useSignal, useSignalEffect } from '@preact/signals';
import { useRef } from 'preact/hooks';
import { Icon } from '../shell/icons.tsx';
import type { AttachedFile } from '../state/conversation.ts';
import { answering, ready, send, stop } from '../state/store.ts';

const MOST_BYTES = 4 << 20;

/** The field at the bottom. */
export function Composer() {
  const text = useSignal('');
  const files = useSignal<readonly AttachedFile[]>([]);
  const complaint = useSignal('');
  const early = useSignal(false);
  const chooser = useRef<HTMLInputElement>(null);
  const busy = answering.value !== undefined;
  const empty = text.value.trim() === '' && files.value.length === 0;
  const submit = (event?: Event) => {
    event?.preventDefault();
    if (busy || empty) return;
    early.value = !ready.value;
    if (early.value) return;
    const [said, with_] = [text.value, files.value];
    text.value = '';
    files.value = [];
    void send(said, with_);
  };
  useSignalEffect(() => {
    if (early.value && ready.value) submit();
  });
  const attach = async (list: FileList | null | undefined) => {
    complaint.value = '';
    for (const file of list ?? []) {
      const read = await readText(file);
      if (typeof read === 'string') complaint.value = read;
      else files.value = [...files.value, read];
    }
    if (chooser.current) chooser.current.value = '';
  };
  return (
    <form
      class="composer"
      onSubmit={submit}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        void attach(event.dataTransfer?.files);
      }}
    >
      {complaint.value !== '' && (
        <p class="error" role="alert">
          {complaint}
        </p>
      )}
      {early.value && <p role="status">This is sent as soon as the server has a model for it.</p>}
      {files.value.length > 0 && (
        <ul class="files">
          {files.value.map((file, i) => (
            <li key={i}>
              {file.name}
              <button
                type="button"
                class="quiet icon"
                aria-label={`Leave ${file.name} out`}
                onClick={() => (files.value = files.value.filter((one) => one !== file))}
              >
                <Icon name="close" />
              </button>
            </li>
          ))}
        </ul>
      )}
      <div class="field">
        <button
          type="button"
          class="quiet icon"
          aria-label="Attach text files"
          title="Attach text files"
          onClick={() => chooser.current?.click()}
        >
          <Icon name="attach" />
        </button>
        <input
          ref={chooser}
          type="file"
          multiple
          hidden
          aria-label="Text files"
          onChange={(event) => void attach(event.currentTarget.files)}
        />
        <textarea
          id="say"
          aria-label="Your message"
          placeholder="Ask anything"
          rows={1}
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            early.value = false;
          }}
          onKeyDown={(event) => {
            // A word of an input method is finished with Enter too.
            if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
          }}
        />
        {busy ? (
          <button type="button" class="strong icon" aria-label="Stop" title="Stop (Esc)" onClick={stop}>
            <Icon name="stop" />
          </button>
        ) : (
          <button type="submit" class="strong icon" aria-label="Send" title="Send (Enter)" disabled={empty}>
            <Icon name="send" />
          </button>
        )}
      </div>
    </form>
  );
}

/** The file, or a sentence on why not. */
async function readText(file: File): Promise<AttachedFile | string> {
  if (file.size > MOST_BYTES) return `${file.name} is larger than 4 MB.`;
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(await file.arrayBuffer());
    return text.includes('\0') ? `${file.name} is no text.` : { name: file.name, text };
  } catch {
    return `${file.name} is no text in UTF-8.`;
  }
}
