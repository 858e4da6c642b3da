/**
 * Owns: putting a server together from its settings, and taking it apart in order.
 * Refuses to know: the command line, where settings come from.
 */
import { isIPv6 } from 'node:net';
import { hostname, networkInterfaces } from 'node:os';
import { openPageFolder } from '../engine/page-folder.node.ts';
import { HadalError } from '../error.ts';
import { hostName } from '../http/host-check.ts';
import type { KeyRing } from '../http/keys.ts';
import { createLimiter } from '../http/limits.ts';
import type { Log } from '../http/log.ts';
import { createMetrics } from '../http/metrics.ts';
import { factsReader } from '../runtime/facts.node.ts';
import type { ServingModel } from './answering.ts';
import { createApp } from './app.ts';
import { type ListenOptions, listen } from './listen.ts';
import { type LocalOptions, localModels } from './local-models.ts';
import { createModels, type ModelEvent, type Models, type ServedModel } from './models.ts';
import { type Observers, watchModel } from './observing.ts';
import { readPage } from './page.ts';
import { modelStore } from './stored-models.ts';

/** Everything that can be chosen of a server. */
export interface ServeSettings extends ListenOptions {
  readonly version: string;
  readonly served: readonly ServedModel[];
  readonly local: LocalOptions;
  /** Bytes of memory that all models together may take. */
  readonly budgetBytes: number;
  readonly keepAliveMs: number;
  readonly maxBodyBytes: number;
  /** Requests that are answered or wait for it. */
  readonly maxOpen: number;
  /** Names that a Host header may hold beside those of this machine. */
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  readonly pingMs: number;
  readonly sharedCache: boolean;
  readonly keys: KeyRing;
  readonly log: Log;
  /** Told beside the log. */
  readonly onModel?: (event: ModelEvent) => void;
}

/** A server that runs. */
export interface RunningServer {
  readonly url: string;
  readonly models: Models<ServingModel>;
  /** Takes nothing new, finishes what runs, at most for so long, and frees everything. */
  close(graceMs: number): Promise<void>;
}

/** Objects and lists of a request inside one another. */
const MAX_DEPTH = 64;
const DROP_MS = 2_000;

/**
 * Starts a server: listens at once, then loads what is pinned.
 *
 * @throws HadalError `keys-needed` beyond loopback without keys; as `listen` and `Models.start` do.
 * @example const server = await startServer(settings, signal); console.log(server.url);
 */
export async function startServer(settings: ServeSettings, signal: AbortSignal): Promise<RunningServer> {
  const { served, budgetBytes, keepAliveMs, hosts, origins, pingMs, keys, log } = settings;
  if (!keys.required && !isLoopback(settings.host)) throw keysNeeded(settings.host);
  const observers: Observers = { log, metrics: createMetrics() };
  const models = createModels({
    served,
    opener: localModels(settings.local),
    budgetBytes,
    keepAliveMs,
    onEvent: (event) => {
      watchModel(observers, event);
      settings.onModel?.(event);
    },
  });
  const { diskCache, onWarning } = settings.local;
  // Also while no engine runs, what is kept has its time.
  const pages = diskCache && openPageFolder({ ...diskCache, onWarning });
  const closing = new AbortController();
  const stop = new AbortController();
  const app = createApp({
    version: settings.version,
    budgetBytes,
    models,
    store: modelStore(settings.local.env),
    facts: factsReader(settings.local.env),
    keys,
    limiter: createLimiter({ maxOpen: settings.maxOpen }),
    observers,
    bodyLimits: { maxBytes: settings.maxBodyBytes, maxDepth: MAX_DEPTH },
    hostRules: { hosts: [...hosts, ...namesOf(settings.host)], origins },
    page: readPage(),
    pingMs,
    sharedCache: settings.sharedCache,
    closing: closing.signal,
    stop: stop.signal,
  });
  const listening = await listen(app, settings);
  const close = async (graceMs: number) => {
    const leaving = new HadalError('closing', {
      what: 'this server is closing',
      next: 'ask again in a moment',
    });
    closing.abort(leaving);
    const timers = [
      setTimeout(() => stop.abort(leaving), graceMs),
      // Whoever does not read the end of an answer does not hold up ours.
      setTimeout(() => listening.drop(), graceMs + DROP_MS),
    ];
    await listening.close();
    for (const timer of timers) clearTimeout(timer);
    await models[Symbol.asyncDispose]();
    await pages?.close();
  };
  try {
    await models.start(signal);
  } catch (error) {
    listening.drop();
    await close(0);
    // Callers are sent to the log; who starts the server may know at once.
    throw error instanceof HadalError && error.code === 'model-unloadable' ? error.cause : error;
  }
  return { url: listening.url, models, close };
}

/** Names and addresses by which a server that listens there is reached. */
function namesOf(host: string): string[] {
  if (host !== '0.0.0.0' && host !== '::') return [hostName(isIPv6(host) ? `[${host}]` : host) ?? host];
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return [
    hostname().toLowerCase(),
    ...addresses.map(({ family, address }) => (family === 'IPv6' ? `[${address.split('%')[0]}]` : address)),
  ];
}

/** Whether only this machine can reach an address. */
function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

function keysNeeded(host: string): HadalError {
  return new HadalError('keys-needed', {
    what: `listening at ${host}`,
    expected: 'keys, since other machines can reach that address',
    got: 'none',
    next: 'make one with: hadal keys add NAME',
  });
}
