/**
 * Owns: that one process of this machine at a time brings a file in.
 * Refuses to know: what it does meanwhile.
 */
import { open, readFile, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Runs `work` while nothing else on this machine makes the same file; a lock of a process that is gone is broken.
 *
 * @param held told once when there is another that has the lock, and is waited for unless this throws
 * @example await alone(path, signal, () => fetchTo(path));
 */
export async function alone<T>(
  path: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
  held?: (lock: string) => void,
): Promise<T> {
  const lock = `${path}.lock`;
  let told = false;
  for (;;) {
    const file = await open(lock, 'wx').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EEXIST') return undefined;
      throw error;
    });
    if (file !== undefined) {
      await file.write(`${process.pid} ${await startOf(process.pid)}\n`);
      await file.close();
      break;
    }
    const [owner = '', started = ''] = (await readFile(lock, 'utf8').catch(() => '')).trim().split(' ');
    const facts = await stat(lock).catch(() => undefined);
    const young = facts !== undefined && Date.now() - facts.mtimeMs < 2_000;
    const alive = isAlive(Number(owner)) && (started === '' || started === (await startOf(Number(owner))));
    if (alive && !told) held?.(lock);
    told ||= alive;
    if (!young && !alive) await rm(lock, { force: true });
    else await sleep(200, undefined, signal === undefined ? {} : { signal });
  }
  try {
    return await work();
  } finally {
    await rm(lock, { force: true });
  }
}

/**
 * When a process was started, in the system's ticks; empty where that cannot be known. In a container that is started again
 * the same numbers go to other processes.
 */
async function startOf(processId: number): Promise<string> {
  const facts = await readFile(`/proc/${processId}/stat`, 'utf8').catch(() => '');
  // The name before, in parentheses, may hold spaces. Source: proc(5), field 22.
  return facts.slice(facts.lastIndexOf(')') + 2).split(' ')[19] ?? '';
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
