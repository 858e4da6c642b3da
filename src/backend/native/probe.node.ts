/**
 * Owns: measuring what this machine gives the native backend: bytes read and bytes multiplied in a second.
 * Refuses to know: models, what the rates are for.
 */
import { HadalError } from '../../error.ts';
import { faults, loadAddon } from './addon.node.ts';

/** Measures with all of its threads. Memory for reading is held until it is let go. */
export interface MachineProbe {
  readonly isa: string;
  readonly threads: number;
  /** Bytes per second of one pass over memory that no cache holds; about 20 ms. */
  readRate(): number;
  /** The same of {@link NEAR_BYTES} that were read just before: a part of them is still in the last cache. */
  nearReadRate(): number;
  /** Multiplications and additions of 8-bit integers per second, out of registers; about 60 ms. */
  multiplyRate(): number;
}

/**
 * Threads that the native backend takes: the processor's, or what a container's share of its time is worth, which Node
 * learned to read only in later versions. Undefined without the addon.
 *
 * @example nativeThreads() ?? availableParallelism()
 */
export function nativeThreads(): number | undefined {
  const loaded = loadAddon();
  if ('problem' in loaded) return undefined;
  const { addon } = loaded;
  return faults(() => addon.threads(addon.create(0, '')));
}

/** More than the last cache of the machines that we know. */
export const FAR_BYTES = 512 * 2 ** 20;
/** What a small model reads for each token. */
export const NEAR_BYTES = 96 * 2 ** 20;
const ROW_NUMBERS = 4096;

/**
 * A probe of this machine, by the addon's own threads.
 *
 * @throws HadalError `native-unavailable`, `out-of-memory`
 * @example createMachineProbe({ threads: 2 }).readRate() / 1e9 // GB/s
 */
export function createMachineProbe({ threads = 0 }: { readonly threads?: number } = {}): MachineProbe {
  const loaded = loadAddon();
  if ('problem' in loaded) {
    throw new HadalError('native-unavailable', {
      what: `measuring with the native backend: ${loaded.problem}`,
      next: 'build it with `npm run build`',
    });
  }
  const { addon } = loaded;
  const context = faults(() => addon.create(threads, ''));
  const rowsOf = (bytes: number) => bytes / 4 / ROW_NUMBERS;
  const rows = rowsOf(FAR_BYTES);
  const id = faults(() => addon.tensor(context, 0, rows, ROW_NUMBERS));
  const read = (rows: number) => faults(() => addon.readRate(context, id, 0, ROW_NUMBERS, rows));
  return {
    isa: faults(() => addon.isa(context)),
    threads: faults(() => addon.threads(context)),
    readRate: () => read(rows),
    nearReadRate() {
      read(rowsOf(NEAR_BYTES));
      return read(rowsOf(NEAR_BYTES));
    },
    multiplyRate: () => faults(() => addon.multiplyRate(context)),
  };
}
