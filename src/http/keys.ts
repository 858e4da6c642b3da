/**
 * Owns: the file of keys: who may call, what each may do; finding the key that a secret belongs to.
 * Refuses to know: headers, routes, how limits are kept.
 *
 * Secrets are 32 random bytes, so one SHA-256 is enough to keep them: there is nothing to guess.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { constants, existsSync, readFileSync, statSync } from 'node:fs';
import { chmod, mkdir, open, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { alone } from '../hub/lock.node.ts';

const keySchema = z.strictObject({
  name: z.string().regex(/^[\w.@-]{1,64}$/, 'letters, digits, _ . @ and -, at most 64'),
  /** Of the secret, hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  created: z.iso.datetime(),
  /** Names of models, `*` for all, `name*` for all that begin so. */
  models: z.array(z.string().min(1).max(256)).min(1),
  limits: z.strictObject({
    /** Requests at the same time. */
    concurrent: z.int().min(1).optional(),
    perMinute: z.int().min(1).optional(),
  }),
});
const fileSchema = z.strictObject({ version: z.literal(1), keys: z.array(keySchema) });

/** A key as the file has it: everything but the secret. */
export type ApiKey = Readonly<z.output<typeof keySchema>>;

/** The keys that are known. */
export interface KeyRing {
  /** False where anybody on this machine may call. */
  readonly required: boolean;
  /** The key of a secret, compared in constant time; undefined where there is none. */
  find(secret: string): ApiKey | undefined;
}

/** For a server that asks for no key. */
export const NO_KEYS: KeyRing = { required: false, find: () => undefined };

const CHECK_EVERY_MS = 1000;
const PREFIX = 'hdl_';

/**
 * Where the keys are: `$HADAL_HOME/keys.json`, else `$XDG_CONFIG_HOME/hadal/keys.json`, else `~/.config/hadal/keys.json`.
 *
 * @example keysPath({ HADAL_HOME: '/srv/hadal' }); // '/srv/hadal/keys.json'
 */
export function keysPath(env: Readonly<Record<string, string | undefined>>): string {
  if (env.HADAL_HOME) return join(env.HADAL_HOME, 'keys.json');
  return join(env.XDG_CONFIG_HOME || join(homedir(), '.config'), 'hadal', 'keys.json');
}

/**
 * Reads the file of keys.
 *
 * @throws HadalError `keys-missing`, `keys-open` where others may read it, `keys-broken`
 * @example readKeys('/home/me/.config/hadal/keys.json').map(({ name }) => name);
 */
export function readKeys(path: string): readonly ApiKey[] {
  const facts = statSync(path, { throwIfNoEntry: false });
  if (!facts?.isFile()) {
    throw new HadalError('keys-missing', {
      what: path,
      expected: 'a file of keys',
      got: 'none',
      next: 'make one with: hadal keys add NAME',
    });
  }
  if (process.platform !== 'win32' && (facts.mode & 0o077) !== 0) {
    throw new HadalError('keys-open', {
      what: path,
      expected: 'a file that only its owner may read (0600)',
      got: `0${(facts.mode & 0o777).toString(8)}`,
      next: `run: chmod 600 ${path}`,
    });
  }
  const result = fileSchema.safeParse(parsed(readFileSync(path, 'utf8')));
  if (!result.success) throw broken(path, result.error.issues[0]?.message ?? 'something else');
  const names = result.data.keys.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw broken(path, `the name ${twice} twice`);
  return result.data.keys;
}

/**
 * Writes the file of keys, all of it or nothing: a full disk leaves the old one.
 *
 * @throws HadalError `keys-unwritable`
 * @example await writeKeys(path, [...readKeys(path), key]);
 */
export async function writeKeys(path: string, keys: readonly ApiKey[]): Promise<void> {
  const part = `${path}.${process.pid}.part`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(part, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    try {
      await file.writeFile(`${JSON.stringify({ version: 1, keys }, null, 2)}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await chmod(part, 0o600);
    await rename(part, path);
  } catch (error) {
    // Where it could not even be begun there is nothing to remove.
    await rm(part, { force: true }).catch(() => undefined);
    throw unwritable(path, error);
  }
}

/**
 * Changes the file of keys; two who do so at once come one after the other.
 *
 * @param change is given the keys that there are, none where there is no file, and throws a HadalError to leave them as they are
 * @throws HadalError `keys-unwritable`; as {@link readKeys}; what `change` throws
 * @example await changeKeys(path, (keys) => [...keys, key]);
 */
export async function changeKeys(
  path: string,
  change: (keys: readonly ApiKey[]) => readonly ApiKey[],
): Promise<void> {
  const work = async () => writeKeys(path, change(existsSync(path) ? readKeys(path) : []));
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await alone(path, undefined, work);
  } catch (error) {
    throw error instanceof HadalError ? error : unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): HadalError {
  return new HadalError(
    'keys-unwritable',
    {
      what: path,
      expected: 'a place to write the keys',
      got: error instanceof Error ? error.message : String(error),
      next: 'make room or choose another place with --keys',
    },
    { cause: error },
  );
}

/**
 * A new key and its secret, which is nowhere else from then on.
 *
 * @throws HadalError `request-invalid` for a name that is none
 * @example const { key, secret } = newKey({ name: 'ci', models: ['*'], limits: {} });
 */
export function newKey(fields: Pick<ApiKey, 'name' | 'models' | 'limits'>): { key: ApiKey; secret: string } {
  const secret = `${PREFIX}${randomBytes(32).toString('base64url')}`;
  const key = { ...fields, sha256: digest(secret).toString('hex'), created: new Date().toISOString() };
  const result = keySchema.safeParse(key);
  if (result.success) return { key: result.data, secret };
  const [issue] = result.error.issues;
  throw new HadalError('request-invalid', {
    what: String(issue?.path[0] ?? 'the key'),
    got: issue?.message ?? 'something else',
    next: 'choose another',
  });
}

/**
 * Keys in memory. Every one is compared, so that the time says nothing about which was close.
 *
 * @example keyRing(readKeys(path)).find(secret)?.name;
 */
export function keyRing(keys: readonly ApiKey[]): KeyRing {
  const digests = keys.map((key) => ({ key, bytes: Buffer.from(key.sha256, 'hex') }));
  return {
    required: true,
    find(secret) {
      const wanted = digest(secret);
      let found: ApiKey | undefined;
      for (const { key, bytes } of digests) if (timingSafeEqual(bytes, wanted)) found = key;
      return found;
    },
  };
}

/** Options of {@link watchedKeys}. */
export interface WatchOptions {
  /** Told why a file that changed was not taken. */
  readonly onTrouble: (error: unknown) => void;
  /** Whether the file may be missing: nobody needs a key until there is one, and everybody from then on. */
  readonly mayBeMissing?: boolean;
}

/**
 * The keys of a file, read again when it changes. A file that has become unreadable, or is gone, changes nothing.
 *
 * @throws HadalError as {@link readKeys}, the first time.
 * @example const ring = watchedKeys(path, { onTrouble: log });
 */
export function watchedKeys(path: string, { onTrouble, mayBeMissing = false }: WatchOptions): KeyRing {
  let version = versionOf(path);
  let ring = mayBeMissing && version === '' ? NO_KEYS : keyRing(readKeys(path));
  let checkedMs = performance.now();
  const current = () => {
    const nowMs = performance.now();
    if (nowMs - checkedMs < CHECK_EVERY_MS) return ring;
    checkedMs = nowMs;
    const seen = versionOf(path);
    if (seen === version) return ring;
    version = seen;
    try {
      ring = keyRing(readKeys(path));
    } catch (error) {
      onTrouble(error);
    }
    return ring;
  };
  return {
    get required() {
      return current().required;
    },
    find: (secret) => current().find(secret),
  };
}

/**
 * What separates what is kept for one key from what is kept for others; a new key of the same name has another.
 *
 * @example saltOf(key); // 'ada 9f86d081884c7d65'
 */
export function saltOf({ name, sha256 }: Pick<ApiKey, 'name' | 'sha256'>): string {
  return `${name} ${sha256.slice(0, 16)}`;
}

/**
 * Whether a key may use a model.
 *
 * @example mayUse({ models: ['smol*'] }, 'smollm2-135m'); // true
 */
export function mayUse({ models }: Pick<ApiKey, 'models'>, model: string): boolean {
  return models.some((pattern) =>
    pattern.endsWith('*') ? model.startsWith(pattern.slice(0, -1)) : pattern === model,
  );
}

/** Whether a key is for all models, and so for what concerns all of them. Example: `rulesAll({ models: ['*'] }) // true` */
export function rulesAll({ models }: Pick<ApiKey, 'models'>): boolean {
  return models.includes('*');
}

function versionOf(path: string): string {
  const facts = statSync(path, { throwIfNoEntry: false });
  return facts === undefined ? '' : `${facts.ino} ${facts.mtimeMs} ${facts.size} ${facts.mode}`;
}

function digest(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function broken(path: string, got: string): HadalError {
  return new HadalError('keys-broken', {
    what: path,
    expected: 'the keys as `hadal keys` writes them',
    got,
    next: 'mend the file, or take it away and add the keys again',
  });
}
