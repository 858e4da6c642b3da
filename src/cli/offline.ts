/**
 * Owns: `--offline` of commands: what is refused at the start, the namespace, and what is said about it.
 * Refuses to know: how going out is prevented.
 */
import { createServer, type Server } from 'node:net';
import { HadalError } from '../error.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { canSeal, goOffline, isSealed, runSealed } from '../hub/offline.node.ts';
import type { Surroundings } from './context.ts';

/** The flag, as commands list it. */
export const OFFLINE_FLAG = {
  offline: { type: 'boolean', description: 'nothing may go out: no fetching, no connections' },
} as const;

/**
 * Goes offline before anything else is done. Models that would have to be fetched are refused. Where a network namespace can
 * be made, the program is run again in one, and this process only waits for it.
 *
 * @param listening where a server is to listen; the socket goes along into the namespace
 * @returns whether the program ran elsewhere, and there is nothing left to do
 * @throws HadalError `offline-model` for a model that is not on disk, and what listening throws.
 * @example if (await ranSealed(surroundings, [model])) return;
 */
export async function ranSealed(
  { terminal, env }: Surroundings,
  models: readonly string[],
  listening?: { readonly host: string; readonly port: number },
): Promise<boolean> {
  for (const model of models) await demandOnDisk(model, env);
  if (isSealed(env)) {
    goOffline();
    return false;
  }
  if (!canSeal()) {
    goOffline();
    terminal.err(
      'hadal: offline: this system allows no network namespace; only what Hadal itself does is covered\n',
    );
    return false;
  }
  const server = listening === undefined ? undefined : await listened(listening);
  const running = runSealed(process.argv.slice(1), server?.fd);
  server?.close();
  process.exitCode = await running;
  return true;
}

async function demandOnDisk(model: string, env: Surroundings['env']): Promise<void> {
  try {
    await resolveModel(model, { env, fetch: false });
  } catch (error) {
    if (!(error instanceof HadalError) || error.code !== 'model-missing') throw error;
    throw new HadalError('offline-model', {
      what: `the model ${model}`,
      expected: 'it on disk, since nothing may be fetched offline',
      got: 'nothing',
      next: `fetch it before (hadal pull ${model}), or bring it over in a bundle`,
    });
  }
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
