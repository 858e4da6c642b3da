/**
 * Owns: dark, light, or as the system has it.
 * Refuses to know: any colour.
 */
import { signal } from '@preact/signals';
import { recall, remember } from '../state/preferences.ts';
import { Icon } from './icons.tsx';

const THEMES = ['system', 'dark', 'light'] as const;
type Theme = (typeof THEMES)[number];

const theme = signal<Theme>(THEMES.find((one) => one === recall('theme')) ?? 'system');

/** Puts the chosen theme on the page. */
export function applyTheme(): void {
  document.documentElement.dataset.theme = theme.value;
}

/** A button that goes from one theme to the next. */
export function ThemeButton() {
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length]!;
  const label = `Colours: ${theme.value}. Change to ${next}`;
  const change = () => {
    theme.value = next;
    remember('theme', next);
    applyTheme();
  };
  return (
    <button type="button" class="quiet icon" title={label} aria-label={label} onClick={change}>
      <Icon name="theme" />
    </button>
  );
}
