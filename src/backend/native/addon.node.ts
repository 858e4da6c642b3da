/**
 * Owns: finding and loading the addon, and turning its faults into errors.
 * Refuses to know: operations.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { isAbsolute, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { HadalError } from '../../error.ts';

/** A context of the addon: opaque. */
export type Context = object;

/** A program, and the view that is read when it has run. */
export type RecordedProgram = readonly [
  context: Context,
  words: Int32Array,
  id: number,
  start: number,
  cols: number,
  rows: number,
];

/** The functions of native/src/ffi.rs; sizes and ids are whole numbers. */
export interface Addon {
  isas(): string;
  create(threads: number, isa: string): Context;
  isa(context: Context): string;
  threads(context: Context): number;
  tensor(context: Context, isInt: number, rows: number, cols: number): number;
  cache(context: Context, format: string, pages: number, pageRows: number, cols: number): number;
  readPage(context: Context, cache: number, page: number): ArrayBuffer;
  writePage(context: Context, cache: number, page: number, bytes: Uint8Array): void;
  /** `held`: the number under which the file is open, plus 1; 0 where it is to be opened by its path. */
  openFile(context: Context, path: string, size: number, held: number): number;
  /** Brings a file's pages near beside what follows, but for weights that are kept apart; once, after its last `weight`. */
  bringNear(context: Context, file: number): void;
  closeFile(context: Context, file: number): void;
  /** `apart` 1: few rows are wanted at a time, and are read from the file rather than by its mapping, where there is one. */
  weight(
    context: Context,
    name: string,
    format: string,
    experts: number,
    rows: number,
    cols: number,
    file: number,
    offset: number,
    bytes: number,
    apart: number,
  ): number;
  constant(
    context: Context,
    name: string,
    format: string,
    experts: number,
    rows: number,
    cols: number,
    bytes: Uint8Array,
  ): number;
  reshape(context: Context, weight: number, experts: number, rows: number, cols: number): number;
  stack(context: Context, name: string, weights: Int32Array): number;
  scaled(context: Context, weight: number, scales: number, rows: number, cols: number): number;
  freeTensor(context: Context, id: number): void;
  freeCache(context: Context, id: number): void;
  freeWeight(context: Context, id: number): void;
  run(...program: RecordedProgram): Promise<ArrayBuffer>;
  /** As `run`, but on the calling thread; undefined, with nothing done, while this context or another computes. */
  runNow(...program: RecordedProgram): ArrayBuffer | undefined;
  /** 1 where `encode` writes the format. */
  encodes(format: string): number;
  encode(
    isa: string,
    name: string,
    from: string,
    bytes: Uint8Array,
    to: string,
    cols: number,
    importance: Float32Array,
  ): ArrayBuffer;
  readRate(context: Context, id: number, start: number, cols: number, rows: number): number;
  multiplyRate(context: Context): number;
  abort(context: Context): void;
  clearAbort(context: Context): void;
}

/** What loading came to. */
export type Loaded = { readonly addon: Addon } | { readonly problem: string };

let loaded: Loaded | undefined;

/** Loads the addon once: from HADAL_NATIVE, a local build, or the package of this platform. */
export function loadAddon(): Loaded {
  loaded ??= load(process.env.HADAL_NATIVE);
  return loaded;
}

function load(override: string | undefined): Loaded {
  const require = createRequire(import.meta.url);
  const places = override === undefined ? [...localBuilds(), ...platformPackages()] : [resolve(override)];
  for (const place of places) {
    if (isAbsolute(place) && !existsSync(place)) continue;
    try {
      return { addon: require(place) as Addon };
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      if (code !== 'MODULE_NOT_FOUND')
        return { problem: `${place} cannot be loaded: ${message.split('\n')[0]}` };
    }
  }
  if (override !== undefined) return { problem: `HADAL_NATIVE names ${override}, where nothing is` };
  return { problem: `there is no addon for ${process.platform} ${process.arch}, and none has been built` };
}

/** Beside the compiled package, or, for the source, where a checkout is built to. */
function localBuilds(): string[] {
  return ['../../native/hadal.node', '../../../dist/native/hadal.node'].map((path) =>
    fileURLToPath(new URL(path, import.meta.url)),
  );
}

function platformPackages(): string[] {
  const base = `@hadal/native-${process.platform}-${process.arch}`;
  if (process.platform !== 'linux') return [base];
  return [`${base}-${isMusl() ? 'musl' : 'gnu'}`];
}

function isMusl(): boolean {
  try {
    return readFileSync('/usr/bin/ldd', 'utf8').includes('musl');
  } catch {
    return existsSync(`/lib/ld-musl-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.so.1`);
  }
}

const SEPARATOR = '\u001f';

/** Runs a call of the addon; a fault becomes a HadalError of the same code. */
export function faults<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw errorOf(error);
  }
}

/** The HadalError of a fault; other errors stay as they are. */
export function errorOf(error: unknown): unknown {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code !== 'string' || typeof message !== 'string' || !message.includes(SEPARATOR)) return error;
  const [what = '', expected = '', got = '', next = ''] = message.split(SEPARATOR);
  return new HadalError(code, { what, expected, got, next });
}
