/**
 * Owns: putting a server together from its settings, and taking it apart in order.
 * Refuses to know: the command line, where settings come from.
 */

import { createApp } from './app.ts';
import { type ListenOptions, listen } from './listen.ts';
import { type LocalOptions, localModels } from './local-models.ts';
import { createModels, type ModelEvent, type ServedModel } from './models.ts';

/** Everything that can be chosen of a server. */
export interface ServeSettings extends ListenOptions {
  readonly served: readonly ServedModel[];
  readonly local: LocalOptions;
  readonly budgetBytes: number;
  readonly keepAliveMs: number;
  readonly maxBodyBytes: number;
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  readonly pingMs: number;
  readonly onModel: (event: ModelEvent) => void;
  readonly onError: (error: unknown, requestId: string) => void;
}

/** A server that runs. */
export interface RunningServer {
  readonly url: string;
  /** Finishes what runs, at most for so long, and frees everything. */
  close(graceMs: number): Promise<void>;
}

/** Objects and lists of a request inside one another. */
const MAX_DEPTH = 64;

/**
 * Starts a server: listens at once, then loads what is pinned.
 *
 * @throws HadalError as `listen` does, and as `Models.start` does.
 * @example const server = await startServer(settings, signal); console.log(server.url);
 */
export async function startServer(settings: ServeSettings, signal: AbortSignal): Promise<RunningServer> {
  const { served, budgetBytes, keepAliveMs, hosts, origins, pingMs } = settings;
  const models = createModels({
    served,
    opener: localModels(settings.local),
    budgetBytes,
    keepAliveMs,
    onEvent: settings.onModel,
  });
  const stop = new AbortController();
  const app = createApp({
    models,
    limits: { maxBodyBytes: settings.maxBodyBytes, maxDepth: MAX_DEPTH },
    hosts,
    origins,
    pingMs,
    stop: stop.signal,
    onError: settings.onError,
  });
  const listening = await listen(app, settings);
  const close = async (graceMs: number) => {
    const timer = setTimeout(() => stop.abort(), graceMs);
    await listening.close();
    clearTimeout(timer);
    await models[Symbol.asyncDispose]();
  };
  try {
    await models.start(signal);
  } catch (error) {
    listening.drop();
    await close(0);
    throw error;
  }
  return { url: listening.url, close };
}
