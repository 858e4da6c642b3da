/**
 * Owns: opening served models on this machine, each in a process of its own.
 * Refuses to know: when models are loaded or put out, HTTP.
 */
import type { Announcement } from '../hub/progress.ts';
import type { Environment } from '../hub/store.node.ts';
import { measureModel, type OpenedModel, type OpenOptions, openModel } from '../runtime/open.node.ts';
import type { ModelOpener, ServedModel } from './models.ts';

type OpeningChoice =
  | 'admit'
  | 'contextTokens'
  | 'cacheTokens'
  | 'maxSequences'
  | 'promptMs'
  | 'threads'
  | 'leaseName'
  | 'diskCache';

/** How every model is opened. */
export interface LocalOptions extends Pick<OpenOptions, OpeningChoice> {
  readonly env: Environment;
  readonly onAnnounce: (announcement: Announcement) => void;
  readonly onWarning: (sentence: string) => void;
}

/** An opened model that the manager can watch. */
export type LocalModel = OpenedModel & { readonly ended: Promise<unknown> };

/**
 * Opens models for the manager.
 *
 * @example createModels({ opener: localModels(options), served, budgetBytes, keepAliveMs });
 */
export function localModels(options: LocalOptions): ModelOpener<LocalModel> {
  return {
    async open(model: ServedModel, onProgress, signal, roomBytes) {
      const opened = await openModel(model.source, {
        ...options,
        roomBytes,
        host: 'process',
        // The page shows it; a step reads some thousand numbers more.
        countExperts: true,
        signal,
        onLoad: onProgress,
      });
      return { ...opened, ended: opened.engine.ended };
    },
    async bytesOf(model, onProgress, signal, roomBytes) {
      const onFetch: OpenOptions['onFetch'] = ({ doneBytes, totalBytes }) =>
        onProgress(doneBytes, totalBytes);
      return (await measureModel(model.source, { ...options, roomBytes, signal, onFetch })).bytes;
    },
  };
}
