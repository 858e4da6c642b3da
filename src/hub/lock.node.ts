/**
 * Owns: that one process at a time brings a file in, of this machine or of others and containers that share its disk.
 * Refuses to know: what it does meanwhile.
 *
 * The lock is a file beside: number and start of its process, then where such numbers mean anything. Who can look the process
 * up does so; who cannot watches whether its lock is touched.
 */
import { open, readFile, readlink, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const TOUCHED_EVERY_MS = 5_000;
/** A lock of elsewhere that nobody touched for so long is one of a process that is gone. */
const SILENT_MS = 30_000;
const ASKED_EVERY_MS = 200;

/**
 * Runs `work` while nothing else makes the same file; a lock of a process that is gone is broken.
 *
 * @param held told once when there is another that has the lock, and is waited for unless this throws
 * @param silentMs how long a lock of another machine or container may stay untouched
 * @example await alone(path, signal, () => fetchTo(path));
 */
export async function alone<T>(
  path: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
  held?: (lock: string) => void,
  silentMs = SILENT_MS,
): Promise<T> {
  const lock = `${path}.lock`;
  const place = await here();
  const own = `${process.pid} ${await startOf(process.pid)} ${Object.values(place).join(' ')}\n`;
  let told = false;
  let seen = { mtimeMs: Number.NaN, atMs: 0 };
  while (!(await take(lock, own))) {
    const text = await readFile(lock, 'utf8').catch(() => '');
    const { mtimeMs = Number.NaN } = (await stat(lock).catch(() => undefined)) ?? {};
    // By this clock alone: a disk of another machine has one of its own.
    if (mtimeMs !== seen.mtimeMs) seen = { mtimeMs, atMs: performance.now() };
    const alive = (await livesIn(place, text)) ?? performance.now() - seen.atMs < silentMs;
    if (alive && !told) held?.(lock);
    told ||= alive;
    const young = Date.now() - mtimeMs < 2_000;
    if (!young && !alive) await removeIf(lock, text);
    else await sleep(ASKED_EVERY_MS, undefined, signal === undefined ? {} : { signal });
  }
  const touching = setInterval(() => {
    const now = new Date();
    utimes(lock, now, now).catch(() => undefined);
  }, TOUCHED_EVERY_MS).unref();
  try {
    return await work();
  } finally {
    clearInterval(touching);
    await removeIf(lock, own);
  }
}

async function take(lock: string, own: string): Promise<boolean> {
  const file = await open(lock, 'wx').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EEXIST') return undefined;
    throw error;
  });
  await file?.write(own);
  await file?.close();
  return file !== undefined;
}

/** Another one may have taken it meanwhile. */
async function removeIf(lock: string, text: string): Promise<void> {
  if ((await readFile(lock, 'utf8').catch(() => text)) === text) await rm(lock, { force: true });
}

/** Where the number of a process means that process. */
interface Place {
  readonly host: string;
  /** Empty where the system does not tell. */
  readonly boot: string;
  /** Of process numbers: containers have their own. */
  readonly namespace: string;
}

async function here(): Promise<Place> {
  const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')).trim();
  const namespace = await readlink('/proc/self/ns/pid').catch(() => '-');
  return { host: hostname(), boot: boot || '-', namespace };
}

/** Whether the process of a lock is at work in this place; undefined where only its owner's place could tell. */
async function livesIn(place: Place, lock: string): Promise<boolean | undefined> {
  const [owner = '', started = '', host, boot, namespace] = lock.trim().split(' ');
  const same = boot === place.boot && namespace === place.namespace && (boot !== '-' || host === place.host);
  if (host !== undefined && !same) {
    // What ran before this machine was started again is gone.
    return host === place.host && boot !== place.boot ? false : undefined;
  }
  return (
    isAlive(Number(owner)) &&
    (started === '' || started === '-' || started === (await startOf(Number(owner))))
  );
}

/**
 * When a process was started, in the system's ticks; a dash where that cannot be known. In a container that is started
 * again the same numbers go to other processes.
 */
async function startOf(processId: number): Promise<string> {
  const facts = await readFile(`/proc/${processId}/stat`, 'utf8').catch(() => '');
  // The name before, in parentheses, may hold spaces. Source: proc(5), field 22.
  return facts.slice(facts.lastIndexOf(')') + 2).split(' ')[19] ?? '-';
}

function isAlive(processId: number): boolean {
  if (!Number.isSafeInteger(processId) || processId <= 0) return false;
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
