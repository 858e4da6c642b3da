/**
 * Owns: `--offline` and `HADAL_OFFLINE` of commands: what is refused at the start, the namespace, and what is said about it.
 * Refuses to know: how going out is prevented.
 */
import { createServer, isIP, type Server } from 'node:net';
import { fileURLToPath } from 'node:url';
import { HadalError } from '../error.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { canSeal, goOffline, isOffline, isSealed, OFFLINE, runSealed } from '../hub/offline.node.ts';
import { engineMainFile } from '../runtime/engine-file.node.ts';
import type { Surroundings } from './context.ts';

/** The flag, as commands list it. */
export const OFFLINE_FLAG = {
  offline: { type: 'boolean', description: 'nothing may go out: no fetching, no connections' },
} as const;

/** What becomes of a command where nothing may go out. */
export type WhenOffline =
  /** It goes offline itself: it knows which models it needs, and where it listens. */
  | 'itself'
  /** It is run where there is no network. */
  | 'sealed'
  /** It opens no model, and only this process is kept from going out. */
  | 'guarded'
  /** It is for what needs a network, or for programs of others. */
  | 'refused';

/** What looks for hardware, in `hadal plan`; started only where there is no way out. */
const TOOLS = ['nvidia-smi', 'sysctl', 'vulkaninfo', 'dd'];

/**
 * Goes offline before a command begins, where `HADAL_OFFLINE` or the usual configuration says so.
 *
 * @returns whether the command ran elsewhere, and there is nothing left to do
 * @throws HadalError `offline-command` for a command that needs a network
 * @example if (await wentOffline('tokenize', 'sealed', surroundings)) return;
 */
export async function wentOffline(
  name: string,
  when: WhenOffline,
  surroundings: Surroundings,
): Promise<boolean> {
  const { env } = surroundings;
  // A server may be told of another configuration.
  if (!isOffline(env) && (name === 'serve' || !(await saysOffline(env, when)))) return false;
  process.env[OFFLINE] = '1';
  if (when === 'sealed') return ranSealed(surroundings, []);
  if (when === 'guarded') goOffline();
  if (when !== 'refused') return false;
  throw new HadalError('offline-command', {
    what: `hadal ${name}`,
    expected: 'a command that needs no network, since nothing may go out',
    got: 'one that fetches, or starts programs of others',
    next: 'take `hadal serve` with a model that is on disk',
  });
}

/** A broken configuration keeps nobody from the commands that need none: they go offline, in doubt. */
async function saysOffline(env: Surroundings['env'], when: WhenOffline): Promise<boolean> {
  const { usualConfig } = await import('../server/config.ts');
  try {
    return usualConfig(env).offline === true;
  } catch (error) {
    if (when === 'guarded') return true;
    throw error;
  }
}

/**
 * Goes offline before anything else is done. Models that would have to be fetched are refused. Where a network namespace can
 * be made, the program is run again in one, and this process only waits for it.
 *
 * @param listening where a server is to listen; the socket goes along into the namespace
 * @returns whether the program ran elsewhere, and there is nothing left to do
 * @throws HadalError `offline-model` for a model that is not on disk, `offline-lookup` for a name to listen at,
 *   `offline-unsealed`, and what listening throws.
 * @example if (await ranSealed(surroundings, [model])) return;
 */
export async function ranSealed(
  { terminal, env, interruption }: Surroundings,
  models: readonly string[],
  listening?: { readonly host: string; readonly port: number },
): Promise<boolean> {
  for (const model of models) await resolveModel(model, { env: { ...env, [OFFLINE]: '1' } });
  if (listening !== undefined && listening.host !== 'localhost' && isIP(listening.host) === 0) {
    throw new HadalError('offline-lookup', {
      what: `--host ${listening.host}`,
      expected: 'an address in numbers, since no name may be looked up',
      got: 'a name',
      next: 'give its address, or 0.0.0.0 for all of this machine',
    });
  }
  const programs = [fileURLToPath(engineMainFile())];
  if (isSealed(env)) {
    goOffline({ programs, tools: TOOLS });
    return false;
  }
  if (!canSeal()) {
    goOffline({ programs });
    terminal.err(
      'hadal: offline: this system allows no network namespace; only what Hadal itself does is covered\n',
    );
    return false;
  }
  const server = listening === undefined ? undefined : await listened(listening);
  const running = runSealed(process.argv.slice(1), server?.fd);
  interruption.pass(running.pass);
  server?.close();
  process.exitCode = await running.ended;
  return true;
}

/** A listening socket that another process can go on with: its number is in Node's handle, and nowhere public. */
function listened(at: {
  readonly host: string;
  readonly port: number;
}): Promise<{ fd: number; close(): void }> {
  return new Promise((resolve, reject) => {
    const server = createServer() as Server & { readonly _handle?: { readonly fd: number } };
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new HadalError(error.code === 'EADDRINUSE' ? 'address-taken' : 'address-impossible', {
          what: `${at.host}:${at.port}`,
          expected: 'an address and a port that are free',
          got: error.code ?? error.message,
          next: 'choose another --host or --port',
        }),
      ),
    );
    server.listen(at, () => resolve({ fd: server._handle?.fd ?? -1, close: () => server.close() }));
  });
}
