/**
 * Owns: opening a model for a command, and what a person is shown meanwhile.
 * Refuses to know: what the command does with it.
 */
import type { Announcement, FetchProgress } from '../hub/progress.ts';
import { type OpenedModel, type OpenOptions, openModel } from '../runtime/open.node.ts';
import type { Surroundings } from './context.ts';
import { formatBytes, formatMs } from './figures.ts';
import { admissionOf } from './policy.ts';
import { slowProgress, type Terminal } from './terminal.ts';

/** Options that commands have in common. */
export interface OpeningOptions {
  readonly contextTokens?: number;
  readonly threads?: number;
  readonly countExperts?: boolean;
  readonly admit?: NonNullable<OpenOptions['admit']>;
}

/**
 * Opens a model by name or path: fetches it where it is missing, holds it against the policy, loads it, and shows it.
 *
 * @throws HadalError as `openModel` does.
 * @example const model = await openShown('smollm2-135m', surroundings, {});
 */
export async function openShown(
  name: string,
  { terminal, interruption, env }: Surroundings,
  options: OpeningOptions,
): Promise<OpenedModel> {
  const load = slowProgress(terminal);
  const openOptions: OpenOptions = {
    ...(options.admit === undefined ? await admissionOf(env) : {}),
    ...options,
    env,
    signal: interruption.signal,
    ...fetchShown(terminal),
    onLoad: (done, total) =>
      load(() => `loading ${percent(done, total)} of ${formatBytes(total)} (Ctrl-C stops it)`),
    onWarning: (sentence) => terminal.err(`hadal: ${sentence}\n`),
  };
  try {
    return await openModel(name, openOptions);
  } finally {
    terminal.progress('');
  }
}

/**
 * Shows the fetching of a model: its size and place at once, then how far it is.
 *
 * @example await resolveModel(name, fetchShown(terminal));
 */
export function fetchShown(terminal: Terminal): {
  onAnnounce: (announcement: Announcement) => void;
  onFetch: (progress: FetchProgress) => void;
  onWait: (lock: string) => void;
} {
  let startedMs = performance.now();
  let startBytes: number | undefined;
  let show = slowProgress(terminal);
  let waited = false;
  return {
    onAnnounce({ title, license, bytes, path, from }) {
      startedMs = performance.now();
      startBytes = undefined;
      show = slowProgress(terminal);
      terminal.err(
        `fetching ${title} (${license})${bytes > 0 ? `, ${formatBytes(bytes)}` : ''}, from ${from}\n  to ${path}\n`,
      );
    },
    onWait(lock) {
      // Of many files the first says enough.
      if (waited) return;
      waited = true;
      terminal.err(`waiting for another process that fetches the same file (${lock})\n`);
    },
    onFetch({ stage, doneBytes, totalBytes }) {
      startBytes ??= doneBytes;
      const gotBytes = doneBytes - startBytes;
      const elapsedMs = performance.now() - startedMs;
      const rate = elapsedMs > 0 ? (gotBytes / elapsedMs) * 1000 : 0;
      const leftMs = rate > 0 ? ((totalBytes - doneBytes) / rate) * 1000 : undefined;
      const left = () => (leftMs === undefined ? '' : ` · ${formatMs(Math.max(1000, leftMs))} left`);
      const doing = stage === 'fetch' ? 'fetched' : 'checked';
      show(
        () =>
          `${doing} ${percent(doneBytes, totalBytes)} of ${formatBytes(totalBytes)} · ${formatBytes(rate)}/s${left()}`,
      );
    },
  };
}

/** Example: `percent(1, 3)` is `33 %`. */
export function percent(done: number, total: number): string {
  return `${total > 0 ? Math.floor((done / total) * 100) : 0} %`;
}
