/**
 * Owns: the beginning of the page.
 * Refuses to know: what is on it.
 */
import './styles/base.css';
import './styles/chat.css';
import './styles/panels.css';
import './styles/machine.css';
import { render } from 'preact';
import { App } from './app.tsx';
import { applyTheme } from './shell/theme.tsx';
import { start } from './state/store.ts';

applyTheme();
render(<App />, document.getElementById('page')!);
void start();
