/**
 * Owns: what callers may have fetched onto this machine and removed from it, in which words they are refused.
 * Refuses to know: how anything is fetched (hub), HTTP, which models are loaded.
 *
 * A caller names models of the catalogue and repositories of the hub. Addresses and packages are for whoever runs the
 * server: a caller who chose them would make the server call wherever it can reach.
 */
import { HadalError } from '../error.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { familyReference, readFamily } from '../hub/family.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { removeModel, storedModels } from '../hub/inventory.node.ts';
import type { Announcement, FetchProgress } from '../hub/progress.ts';
import { pull } from '../hub/pull.node.ts';
import { parseReference, type Reference } from '../hub/reference.ts';
import type { Environment } from '../hub/store.node.ts';
import type { ServedModel } from './models.ts';

/** Options of {@link ModelStore.pull}. */
export interface StorePullOptions {
  readonly signal: AbortSignal;
  readonly onAnnounce: (announcement: Announcement) => void;
  readonly onProgress: (progress: FetchProgress) => void;
}

/** A model that may be fetched. */
export interface Pullable {
  readonly name: string;
  readonly aliases: readonly string[];
  /**
   * Fetches what is missing of it.
   *
   * @returns what is to be opened
   * @throws HadalError `pull-failed`; the signal's reason
   */
  fetch(options: StorePullOptions): Promise<string>;
}

/** Models on the disk of this machine. */
export interface ModelStore {
  /**
   * What a caller names.
   *
   * @throws HadalError `pull-refused`
   * @example await store.find('smollm2-135m').fetch(options);
   */
  find(name: string): Pullable;
  /** Fetches what is missing of a model that is served. As {@link Pullable.fetch}. */
  refetch(served: ServedModel, options: StorePullOptions): Promise<string>;
  /**
   * What removes the files of a model and gives the bytes that became free; undefined where they are not ours to remove.
   *
   * @example await (await store.removal(served))?.();
   */
  removal(served: ServedModel): Promise<(() => Promise<number>) | undefined>;
}

/** Ollama's spellings of the hub. */
const HUB = /^(hf\.co|huggingface\.co)\//i;

/**
 * The models on disk by an environment.
 *
 * @example const store = modelStore(process.env);
 */
export function modelStore(env: Environment): ModelStore {
  return {
    find(name) {
      const bare = name.replace(HUB, '');
      const known = findModel(readCatalogue(), bare);
      if (known !== undefined) {
        const { name: source, aliases } = known;
        return {
          name: source,
          aliases,
          fetch: (options) => told(options.signal, () => resolveModel(source, { env, ...options })),
        };
      }
      const reference = repositoryOf(bare, name);
      return {
        name: bare,
        aliases: bare === name ? [] : [name],
        fetch: (options) =>
          told(options.signal, async () => (await pull(reference, { env, ...options })).path),
      };
    },
    refetch: ({ source }, options) => told(options.signal, () => resolveModel(source, { env, ...options })),
    async removal({ name, source }) {
      const all = await storedModels(env);
      const stored = all.find(
        (model) => model.path === source || model.name === source || model.name === name,
      );
      return stored && (() => removeModel(stored, env));
    },
  };
}

function repositoryOf(bare: string, name: string): Extract<Reference, { kind: 'repo' }> {
  const reference = parseReference(familyReference(readFamily(), bare) ?? bare);
  if (reference?.kind === 'repo') return reference;
  throw new HadalError('pull-refused', {
    what: JSON.stringify(name.slice(0, 200)),
    expected: 'a known name, or USER/REPO:QUANTIZATION of the hub',
    got: reference === undefined ? 'neither' : 'an address or a package',
    next: reference === undefined ? 'correct the name' : 'fetch it on the server with: hadal pull',
  });
}

/** Failures that are of the name that was given; others are of the hub or of this machine. */
const OF_THE_NAME = ['repo-missing', 'file-missing', 'quantization-needed', 'model-unknown', 'model-missing'];
/** Failures whose words name folders or programs of this machine. */
const OURS: Readonly<Record<string, string>> = {
  'disk-full': 'the disk of this server has no room for it',
  'store-unwritable': 'this server may not write where its models are',
  'model-unreachable': 'it could not be fetched from any of its sources',
};

async function told(signal: AbortSignal, work: () => Promise<string>): Promise<string> {
  try {
    return await work();
  } catch (cause) {
    signal.throwIfAborted();
    if (!(cause instanceof HadalError)) throw cause;
    if (OF_THE_NAME.includes(cause.code)) {
      throw new HadalError('pull-refused', { what: cause.message, next: 'correct the name' }, { cause });
    }
    const what = OURS[cause.code] ?? cause.message;
    throw new HadalError(
      'pull-failed',
      { what, next: 'ask whoever runs this server, or try again later' },
      { cause },
    );
  }
}
