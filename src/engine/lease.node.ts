/**
 * Owns: one compute lease per machine and user: engines of all processes take turns, step by step.
 * Refuses to know: what is computed.
 *
 * Whoever listens on the socket of the lease's name has it. A second engine connects to it, which is how the first
 * learns that somebody waits; it closes the socket after its step, and the closed connection tells the second to try.
 * An abstract socket leaves nothing behind: a killed engine gives the lease back by dying. While nobody else wants to
 * compute, a step costs no call at all.
 */
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ComputeLease } from './lease.ts';

/** A lease only spares time, so nobody waits for it for ever. */
const PATIENCE_MS = 10_000;
/** How long whoever gave way keeps back, so that the one who waited comes first. */
const GIVE_WAY_MS = 3;

/** A lease that can be given back for good. */
export interface MachineLease extends ComputeLease {
  close(): void;
}

/**
 * The lease of a name. Where the system has no abstract sockets (anywhere but Linux) nobody waits.
 *
 * @param name the same for all that take turns
 * @example const lease = machineLease(`hadal-compute-${process.getuid?.()}`); await lease.take();
 */
export function machineLease(name: string, patienceMs = PATIENCE_MS): MachineLease {
  if (process.platform !== 'linux') return { take: async () => undefined, pause() {}, close() {} };
  const path = `\0${name}`;
  let held: Server | undefined;
  /** Those who wait for this engine's step to end. */
  const waiting = new Set<Socket>();
  let computing = false;
  let gaveWay = false;

  const give = () => {
    held?.close();
    held = undefined;
    for (const socket of waiting) socket.destroy();
    waiting.clear();
    gaveWay = true;
  };
  const listen = () =>
    new Promise<Server | undefined>((resolve) => {
      const server = createServer((socket) => {
        waiting.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => waiting.delete(socket));
        // Between two steps there is nobody who would call pause.
        if (!computing) give();
      });
      server.unref();
      server.once('error', () => resolve(undefined));
      server.listen(path, () => resolve(server));
    });
  return {
    async take() {
      computing = true;
      if (held !== undefined) return;
      if (gaveWay) await sleep(GIVE_WAY_MS);
      gaveWay = false;
      const untilMs = performance.now() + patienceMs;
      while (held === undefined && performance.now() < untilMs) {
        held = await listen();
        if (held === undefined) await untilClosed(path, untilMs - performance.now());
      }
    },
    pause() {
      computing = false;
      if (waiting.size > 0) give();
    },
    close: give,
  };
}

/** Resolves when whoever listens at a path has closed the connection, or after some time. */
function untilClosed(path: string, atMostMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const timer = setTimeout(() => socket.destroy(), Math.max(0, atMostMs));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
