/**
 * Owns: a client's file of settings: written whole or not at all, with what it was before kept so that it can be again.
 * Refuses to know: any client, what the settings mean.
 */
import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../../error.ts';
import { applyChanges, type Change, type Changed, revertChanges, type Step } from './changes.ts';
import { FORMATS, type FormatName } from './settings-format.ts';

/** A file of settings. */
export interface SettingsFile {
  readonly path: string;
  readonly format: FormatName;
}

const stepSchema = z.union([z.string(), z.strictObject({ name: z.string() })]);
const recordSchema = z.strictObject({
  version: z.literal(1),
  path: z.string(),
  format: z.enum(['json', 'jsonc', 'yaml', 'toml']),
  /** The file as it was; null where there was none. */
  before: z.string().nullable(),
  /** The file as it was written. */
  after: z.string(),
  changed: z.array(
    z.strictObject({
      path: z.array(stepSchema),
      value: z.unknown(),
      before: z.unknown().optional(),
      depth: z.int().min(0),
    }),
  ),
});

/** What was done to a file. */
export type LaunchRecord = z.output<typeof recordSchema>;

/**
 * Where the record of a client is: `$XDG_CONFIG_HOME/hadal/launch/NAME.json`.
 *
 * @example recordPath('codex', process.env);
 */
export function recordPath(client: string, env: Readonly<Record<string, string | undefined>>): string {
  return join(configFolder(env), 'hadal', 'launch', `${client}.json`);
}

/** The home folder that clients see. */
export function homeFolder(env: Readonly<Record<string, string | undefined>>): string {
  return env.HOME || homedir();
}

/** Where clients keep their settings: `$XDG_CONFIG_HOME`, else `~/.config`. */
export function configFolder(env: Readonly<Record<string, string | undefined>>): string {
  return env.XDG_CONFIG_HOME || join(homeFolder(env), '.config');
}

/**
 * The record of a client, or undefined.
 *
 * @throws HadalError `launch-record` for one that is none
 */
export function readRecord(path: string): LaunchRecord | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new HadalError(
      'launch-record',
      {
        what: path,
        expected: 'what `hadal launch` wrote there',
        got: 'something else',
        next: "restore the client's settings by hand (`before` in that file), then remove it",
      },
      { cause },
    );
  }
}

/** What {@link writeSettings} did. */
export interface WrittenSettings {
  /** False where everything was as wanted already. */
  readonly changed: boolean;
  /** The file after it. */
  readonly text: string;
}

/**
 * Puts settings into a file, after taking out what an earlier call put there. The record is written first: whatever
 * happens then, what was in the file is not lost.
 *
 * @throws HadalError `settings-broken` for a file that does not parse, which stays as it is; `settings-unwritable`
 * @example await writeSettings({ path, format: 'json' }, [{ path: ['env', 'A'], value: '1' }], recordPath('x', env));
 */
export async function writeSettings(
  file: SettingsFile,
  changes: readonly Change[],
  record: string,
): Promise<WrittenSettings> {
  const old = readRecord(record);
  const present = textOf(file.path);
  const same = old?.path === file.path && old.format === file.format ? old : undefined;
  if (old !== undefined && same === undefined) await undoSettings(record);
  const start = same === undefined ? present : reverted(same, present).text;
  const { text, changed } = within(file.path, () => applyChanges(FORMATS[file.format], start ?? '', changes));
  if (text === present) return { changed: false, text };
  const written: LaunchRecord = {
    version: 1,
    path: file.path,
    format: file.format,
    before: start ?? null,
    after: text,
    changed: changed.map((one) => ({ ...one, path: [...one.path] })),
  };
  await writeWhole(record, `${JSON.stringify(written, null, 2)}\n`, 0o600);
  await writeWhole(file.path, text);
  return { changed: true, text };
}

/** What {@link undoSettings} did. */
export interface UndoneSettings {
  readonly path: string;
  /**
   * `restored`: it is as it was; `missing`: somebody removed the file, and it stays so; `taken-out`: it was changed since,
   * and what was put there is out again.
   */
  readonly outcome: 'restored' | 'missing' | 'taken-out';
  /** Settings that were changed since and stay. */
  readonly kept: readonly (readonly Step[])[];
}

/**
 * Takes out of a file what {@link writeSettings} put there: byte for byte where the file was not changed since.
 *
 * @returns undefined where there is nothing to undo
 * @throws HadalError as {@link writeSettings}
 * @example await undoSettings(recordPath('codex', process.env));
 */
export async function undoSettings(record: string): Promise<UndoneSettings | undefined> {
  const old = readRecord(record);
  if (old === undefined) return undefined;
  const present = textOf(old.path);
  const { text, kept } = reverted(old, present);
  if (text === undefined) await rm(old.path, { force: true });
  else if (text !== present) await writeWhole(old.path, text);
  await rm(record);
  const restored = text === (old.before ?? undefined);
  const outcome = restored ? 'restored' : text === undefined ? 'missing' : 'taken-out';
  return { path: old.path, outcome, kept };
}

/** The text without what was put there; undefined where no file is to be left. */
function reverted(
  old: LaunchRecord,
  present: string | undefined,
): { readonly text: string | undefined; readonly kept: UndoneSettings['kept'] } {
  // A file that is gone was removed by somebody: it is not brought back.
  if (present === undefined) return { text: undefined, kept: [] };
  if (present === old.after) return { text: old.before ?? undefined, kept: [] };
  return within(old.path, () =>
    revertChanges(FORMATS[old.format], present, old.changed as readonly Changed[]),
  );
}

/**
 * Whether others than its owner may read a file; where modes say nothing, nobody may.
 *
 * @example othersMayRead('/etc/passwd'); // true
 */
export function othersMayRead(path: string): boolean {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
  return process.platform !== 'win32' && (mode & 0o044) !== 0;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw unwritable(path, cause);
  }
}

function within<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    throw new HadalError(
      'settings-broken',
      {
        what: path,
        expected: 'settings that can be read',
        got: (cause instanceof Error ? cause.message : String(cause)).split('\n')[0]!,
        next: 'mend the file; it was left as it is',
      },
      { cause },
    );
  }
}

/** All of it or nothing, with the mode that it had; through a link, which stays one. */
async function writeWhole(path: string, text: string, mode?: number): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const target = existsSync(path) ? realpathSync(path) : path;
    const part = `${target}.${process.pid}.part`;
    try {
      // A new file may hold a key.
      const before = statSync(target, { throwIfNoEntry: false })?.mode;
      const file = await open(part, 'wx', mode ?? (before ?? 0o600) & 0o777);
      try {
        await file.writeFile(text);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(part, target);
    } finally {
      await rm(part, { force: true });
    }
  } catch (cause) {
    throw unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): HadalError {
  return new HadalError(
    'settings-unwritable',
    {
      what: path,
      expected: 'a file that can be read and written',
      got: cause instanceof Error ? cause.message : String(cause),
      next: 'see who owns it',
    },
    { cause },
  );
}
