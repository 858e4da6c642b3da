/**
 * Owns: staying offline: this process refuses to connect, to look up names and to start programs; on Linux it can be run
 * again where there is no network at all.
 * Refuses to know: commands, models.
 *
 * The refusals cover what JavaScript in this process does, its dependencies too. Native code of others is covered only by the
 * network namespace, which has no interface that leads anywhere.
 */
import childProcess from 'node:child_process';
import dgram from 'node:dgram';
import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { HadalError } from '../error.ts';
import type { Environment } from './store.node.ts';

/** Set while nothing may go out; child processes and threads inherit it. */
export const OFFLINE = 'HADAL_OFFLINE';
/** Set inside of a network namespace of our own: the number of the listening socket that came along, or nothing. */
const SEALED = 'HADAL_SEALED';

/** Whether nothing may go out. Example: `isOffline({ HADAL_OFFLINE: '1' })` */
export function isOffline(env: Environment): boolean {
  return env[OFFLINE] === '1';
}

/**
 * From now on this process, and the engines that it starts, refuse to connect, to look up names, and to start any
 * program but this one. Sockets that listen, and local pipes, stay.
 *
 * @throws HadalError from the refused calls: `offline-connection`, `offline-lookup`, `offline-program`.
 * @example goOffline(); await fetch('https://example.com'); // rejects
 */
export function goOffline(): void {
  process.env[OFFLINE] = '1';
  refuseConnections();
  refuseLookups();
  refusePrograms();
  syncBuiltinESMExports();
}

function refuseConnections(): void {
  const connect = net.Socket.prototype.connect as (...given: unknown[]) => net.Socket;
  net.Socket.prototype.connect = function (this: net.Socket, ...given: unknown[]) {
    const [first] = Array.isArray(given[0]) ? (given[0] as unknown[]) : given;
    const options = typeof first === 'object' && first !== null ? (first as { path?: unknown }) : undefined;
    const local = typeof options?.path === 'string' || (typeof first === 'string' && !/^\d+$/.test(first));
    if (local) return connect.apply(this, given);
    throw refused('offline-connection', 'no connections', describe(first));
  } as typeof net.Socket.prototype.connect;
  for (const name of ['send', 'connect', 'bind'] as const) {
    dgram.Socket.prototype[name] = () => {
      throw refused('offline-connection', 'no connections', 'one by UDP');
    };
  }
}

function refuseLookups(): void {
  const lookup = dns.lookup as (...given: unknown[]) => void;
  const plain = (host: unknown) => host === 'localhost' || net.isIP(String(host)) !== 0;
  const guarded = (host: unknown, ...rest: unknown[]) => {
    // Listening looks its own address up too; that leaves this machine no more than an address in numbers does.
    if (plain(host)) return lookup(host, ...rest);
    throw refused('offline-lookup', 'no names looked up', String(host));
  };
  Object.assign(dns, { lookup: guarded });
  const lookupSoon = dns.promises.lookup as (...given: unknown[]) => Promise<unknown>;
  Object.assign(dns.promises, {
    lookup: async (host: unknown, ...rest: unknown[]) => {
      if (plain(host)) return lookupSoon(host, ...rest);
      throw refused('offline-lookup', 'no names looked up', String(host));
    },
  });
  for (const place of [
    dns,
    dns.promises,
    dns.Resolver.prototype,
    dns.promises.Resolver.prototype,
  ] as object[]) {
    for (const name of Object.getOwnPropertyNames(place)) {
      if (!/^(resolve\w*|reverse|lookupService)$/.test(name)) continue;
      Object.defineProperty(place, name, {
        configurable: true,
        writable: true,
        value: (what: unknown) => {
          throw refused('offline-lookup', 'no names looked up', String(what));
        },
      });
    }
  }
}

/** The only program that may be started is this one: engines run in processes of their own. */
function refusePrograms(): void {
  const prototype = childProcess.ChildProcess.prototype as unknown as {
    spawn(options: { file?: string }): unknown;
  };
  const spawn = prototype.spawn;
  prototype.spawn = function (options) {
    if (options.file === process.execPath) return spawn.call(this, options);
    throw refused('offline-program', 'no program but this one', String(options.file));
  };
  for (const name of ['spawnSync', 'execSync', 'execFileSync'] as const) {
    Object.assign(childProcess, {
      [name]: (file: unknown) => {
        throw refused('offline-program', 'no program but this one', String(file));
      },
    });
  }
}

function describe(target: unknown): string {
  const { host, port } = (typeof target === 'object' && target !== null ? target : {}) as {
    host?: unknown;
    port?: unknown;
  };
  return `one to ${host ?? 'this machine'}:${port ?? target}`;
}

function refused(code: string, expected: string, got: string): HadalError {
  return new HadalError(code, {
    what: 'offline',
    expected,
    got,
    next: 'leave out --offline, or what needs the network',
  });
}

/** The listening socket that came along into a network namespace of our own. Example: `sealedSocket(env) // 3` */
export function sealedSocket(env: Environment): number | undefined {
  return /^\d+$/.test(env[SEALED] ?? '') ? Number(env[SEALED]) : undefined;
}

/** Whether this process was started in a network namespace of our own. */
export function isSealed(env: Environment): boolean {
  return env[SEALED] !== undefined;
}

/**
 * Whether a network namespace can be made here: Linux, `unshare` of util-linux, and user namespaces allowed.
 *
 * @example if (canSeal()) await runSealed(process.argv.slice(1));
 */
export function canSeal(): boolean {
  if (process.platform !== 'linux') return false;
  return childProcess.spawnSync('unshare', ['-rn', 'true'], { stdio: 'ignore' }).status === 0;
}

/**
 * Runs this program again in a network namespace that leads nowhere, to its end. What it prints, reads and is told by signals
 * goes through.
 *
 * @param args from the program's file on, as in `process.argv.slice(1)`
 * @param socket a listening socket of the namespace outside, which is still listened on inside
 * @returns its exit code
 * @example process.exitCode = await runSealed(process.argv.slice(1));
 */
export function runSealed(args: readonly string[], socket?: number): Promise<number> {
  const child = childProcess.spawn('unshare', ['-rn', '--', process.execPath, ...process.execArgv, ...args], {
    stdio: socket === undefined ? 'inherit' : ['inherit', 'inherit', 'inherit', socket],
    env: { ...process.env, [OFFLINE]: '1', [SEALED]: socket === undefined ? 'yes' : '3' },
  });
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGTERM', forward);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      process.off('SIGTERM', forward);
      resolve(code ?? 1);
    });
  });
}
