/**
 * Owns: copying a text, and saying that it was.
 * Refuses to know: what the text is.
 */
import { useSignal } from '@preact/signals';
import { announcement } from '../state/store.ts';
import { Icon } from './icons.tsx';

const SHOWN_MS = 1500;

/** A button that copies. */
export function CopyButton({ text, label }: { readonly text: string; readonly label: string }) {
  const copied = useSignal(false);
  const copy = async () => {
    await toClipboard(text);
    announcement.value = 'Copied.';
    copied.value = true;
    setTimeout(() => {
      copied.value = false;
    }, SHOWN_MS);
  };
  return (
    <button type="button" class="quiet icon" title={label} aria-label={label} onClick={() => void copy()}>
      <Icon name={copied.value ? 'check' : 'copy'} />
    </button>
  );
}

/** The clipboard's own interface is there only where the page came over TLS or from this very machine. */
async function toClipboard(text: string): Promise<void> {
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.className = 'unseen';
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand('copy');
  field.remove();
}
