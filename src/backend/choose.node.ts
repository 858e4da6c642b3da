/**
 * Owns: which backend computes here: the native one where it can be loaded, else the reference one.
 * Refuses to know: models, what is computed.
 */
import { HadalError } from '../error.ts';
import type { Backend } from './backend.ts';
import { createNativeBackend, nativeIsas, nativeProblem } from './native/native.node.ts';
import { createReferenceBackend } from './reference/reference.ts';

/** Options of {@link chooseBackend}; those that are absent come from the environment. */
export interface ChooseOptions {
  readonly threads?: number;
  readonly isa?: string;
  /** Told in one sentence when the native backend cannot be used. */
  readonly onWarning?: (sentence: string) => void;
  /** `process.env` when absent. Read: HADAL_BACKEND, HADAL_ISA, HADAL_THREADS. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** See `ReferenceOptions.abortFlag`. */
  readonly abortFlag?: SharedArrayBuffer;
}

const MOST_THREADS = 1024;

/**
 * The backend that the environment asks for, or the best that can be had.
 *
 * @throws HadalError `environment` for values that mean nothing, `native-unavailable` when it is asked for by name.
 * @example const backend = chooseBackend({ onWarning: console.warn });
 */
export function chooseBackend(options: ChooseOptions = {}): Backend {
  const { env = process.env, onWarning, abortFlag } = options;
  const wanted = env.HADAL_BACKEND || undefined;
  if (wanted !== undefined && wanted !== 'native' && wanted !== 'reference') {
    throw unfit('HADAL_BACKEND', 'native or reference', wanted);
  }
  const threads = options.threads ?? threadsOf(env.HADAL_THREADS || undefined);
  const isa = options.isa ?? (env.HADAL_ISA || undefined);
  const reference = () => createReferenceBackend(abortFlag === undefined ? {} : { abortFlag });
  if (wanted === 'reference') return reference();
  const problem = nativeProblem();
  if (problem !== undefined && wanted === undefined) {
    onWarning?.(
      `${problem}, so the slow reference backend computes; with cargo, \`npm run build\` builds the addon`,
    );
    return reference();
  }
  if (problem === undefined && isa !== undefined && !nativeIsas().includes(isa)) {
    throw unfit('HADAL_ISA', `one of ${nativeIsas().join(', ')} on this processor`, isa);
  }
  return createNativeBackend({
    ...(threads === undefined ? {} : { threads }),
    ...(isa === undefined ? {} : { isa }),
  });
}

function threadsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const threads = Number(text);
  if (Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS) return threads;
  throw unfit('HADAL_THREADS', `a whole number from 1 to ${MOST_THREADS}`, text);
}

function unfit(name: string, expected: string, got: string): HadalError {
  return new HadalError('environment', {
    what: name,
    expected,
    got: `"${got}"`,
    next: 'correct it or unset it',
  });
}
