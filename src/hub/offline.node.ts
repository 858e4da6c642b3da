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
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import workerThreads from 'node:worker_threads';
import { HadalError } from '../error.ts';
import type { Environment } from './store.node.ts';

/** Set while nothing may go out; child processes and threads inherit it. */
export const OFFLINE = 'HADAL_OFFLINE';
/** Set for a network namespace of our own: the number of the listening socket that came along, or nothing. */
const SEALED = 'HADAL_SEALED';

/** What may be started while nothing may go out. */
export interface Allowed {
  /** Files of our own that Node runs. */
  readonly programs?: readonly string[];
  /** Programs of the system by their names, waited for. */
  readonly tools?: readonly string[];
}

/** Whether nothing may go out. Example: `isOffline({ HADAL_OFFLINE: '1' })` */
export function isOffline(env: Environment): boolean {
  return env[OFFLINE] === '1';
}

/**
 * From now on this process, its threads and the engines that it starts refuse to connect, to look up names, and to start any
 * program but those allowed. Sockets that listen, and local pipes, stay.
 *
 * @throws HadalError from the refused calls: `offline-connection`, `offline-lookup`, `offline-program`.
 * @example goOffline(); await fetch('https://example.com'); // rejects
 */
export function goOffline(allowed: Allowed = {}): void {
  process.env[OFFLINE] = '1';
  refuseConnections();
  refuseLookups();
  refusePrograms(allowed);
  refuseInThreads();
  syncBuiltinESMExports();
}

function refuseConnections(): void {
  const connect = net.Socket.prototype.connect as (...given: unknown[]) => net.Socket;
  net.Socket.prototype.connect = function (this: net.Socket, ...given: unknown[]) {
    const [first] = Array.isArray(given[0]) ? (given[0] as unknown[]) : given;
    const options = typeof first === 'object' && first !== null ? (first as { path?: unknown }) : undefined;
    const path = options ? options.path : first;
    // As Node tells a path from a port: what is empty, or a number in any notation, is none.
    const local = typeof path === 'string' && path !== '' && (options !== undefined || !(Number(path) >= 0));
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

/** Variables by which a program of ours would become another one; Node's own channel to it is none. */
const CHANGING = /^(NODE_(?!CHANNEL_)|LD_|DYLD_|OPENSSL_)/i;

/** The only programs that may be started are our own, by Node and without anything that would have it do something else. */
function refusePrograms({ programs = [], tools = [] }: Allowed): void {
  const environment = { ...process.env };
  const prototype = childProcess.ChildProcess.prototype as unknown as {
    spawn(options: { file?: string; args?: readonly string[]; envPairs?: readonly string[] }): unknown;
  };
  const spawn = prototype.spawn;
  prototype.spawn = function (options) {
    const { file, args = [], envPairs = [] } = options;
    const own = file === process.execPath && args[1] !== undefined && programs.includes(args[1]);
    const asIs = envPairs.every((pair) => {
      const name = pair.slice(0, pair.indexOf('='));
      return !CHANGING.test(name) || pair.slice(name.length + 1) === environment[name];
    });
    if (own && asIs) return spawn.call(this, options);
    throw refused('offline-program', 'no program but our own', [file, ...args.slice(1)].join(' '));
  };
  const { spawnSync } = childProcess;
  for (const name of ['spawnSync', 'execSync', 'execFileSync'] as const) {
    Object.assign(childProcess, {
      [name]: (file: unknown, ...rest: unknown[]) => {
        if (name === 'spawnSync' && tools.includes(String(file)))
          return (spawnSync as (...given: unknown[]) => unknown)(file, ...rest);
        throw refused('offline-program', 'no program but our own', String(file));
      },
    });
  }
}

/** A thread begins with functions of its own: it goes offline before anything of it runs. */
function refuseInThreads(): void {
  // What is imported first is not, where a thread's code is a text.
  const guard = ['--require', fileURLToPath(new URL('./offline-thread.node.js', import.meta.url))];
  const { Worker } = workerThreads;
  Object.assign(workerThreads, {
    Worker: class extends Worker {
      constructor(file: string | URL, options: workerThreads.WorkerOptions = {}) {
        const { execArgv = process.execArgv } = options;
        super(file, { ...options, execArgv: [...execArgv, ...guard] });
      }
    },
  });
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

/** What is said of a model that would have to be fetched. Example: `throw missingOffline('the model a', 'a')` */
export function missingOffline(what: string, name: string): HadalError {
  return new HadalError('offline-model', {
    what,
    expected: 'it on disk, since nothing may be fetched offline',
    got: 'nothing',
    next: `fetch it before (hadal pull ${name}), or bring it over in a bundle`,
  });
}

/** The listening socket that came along into a network namespace of our own. Example: `sealedSocket(env) // 3` */
export function sealedSocket(env: Environment): number | undefined {
  return /^\d+$/.test(env[SEALED] ?? '') ? Number(env[SEALED]) : undefined;
}

/**
 * Whether this process can reach nothing outside of this machine, by what the system says: on Linux, no route but those of
 * loopback.
 *
 * @throws HadalError `offline-unsealed` where it was started to be so, and there is a route.
 * @example if (isSealed(process.env)) goOffline();
 */
export function isSealed(env: Environment): boolean {
  const route = process.platform === 'linux' ? routeOut() : 'one that is not looked for';
  if (route === undefined || env[SEALED] === undefined) return route === undefined;
  throw new HadalError('offline-unsealed', {
    what: `the network namespace that ${SEALED} speaks of`,
    expected: 'no way out of it',
    got: `a route by ${route}`,
    next: `leave ${SEALED} unset; Hadal sets it for itself`,
  });
}

/** The interface of a route that leads out of this process's network namespace. */
function routeOut(): string | undefined {
  const rows = (path: string) => {
    try {
      return readFileSync(path, 'utf8').split('\n').filter(Boolean);
    } catch (error) {
      // A kernel without IPv6 has no such routes.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  };
  const four = rows('/proc/self/net/route')
    .slice(1)
    .map((row) => row.split(/\s+/)[0]);
  const six = rows('/proc/self/net/ipv6_route').map((row) => row.trim().split(/\s+/).at(-1));
  return [...four, ...six].find((name) => name !== 'lo');
}

/**
 * Whether a network namespace can be made here: Linux, `unshare` of util-linux, and user namespaces allowed.
 *
 * @example if (canSeal()) await runSealed(process.argv.slice(1)).ended;
 */
export function canSeal(): boolean {
  if (process.platform !== 'linux') return false;
  return childProcess.spawnSync('unshare', ['-rn', 'true'], { stdio: 'ignore' }).status === 0;
}

/** A run of this program in a network namespace of its own, which this process waits for. */
export interface SealedRun {
  /** Its exit code when it is over; 128 and the signal's number where a signal ended it. */
  readonly ended: Promise<number>;
  /** Hands a signal on that this process got. */
  pass(signal: NodeJS.Signals): void;
}

/**
 * Runs this program again in a network namespace that leads nowhere, to its end. What it prints and reads goes through.
 *
 * Signals are handed on as messages, since those of a terminal or a service manager reach both processes by themselves.
 *
 * @param args from the program's file on, as in `process.argv.slice(1)`
 * @param socket a listening socket of the namespace outside, which is still listened on inside
 * @example process.exitCode = await runSealed(process.argv.slice(1)).ended;
 */
export function runSealed(args: readonly string[], socket?: number): SealedRun {
  const child = childProcess.spawn('unshare', ['-rn', '--', process.execPath, ...process.execArgv, ...args], {
    stdio: ['inherit', 'inherit', 'inherit', socket ?? 'ignore', 'ipc'],
    env: { ...process.env, [OFFLINE]: '1', [SEALED]: socket === undefined ? 'yes' : '3' },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
  return {
    ended,
    pass(signal) {
      // Hanging up ends it by itself, and twice is once.
      if (signal === 'SIGHUP' || !child.connected) child.kill(signal);
      // It may be over before it reads this.
      else child.send({ signal }, () => undefined);
    },
  };
}

/**
 * In a sealed run, hears of the signals that the process which waits for it got, and of that one's end as of SIGTERM.
 *
 * @example hearPassed(process, (signal) => stop(signal));
 */
export function hearPassed(of: NodeJS.Process, heard: (signal: 'SIGINT' | 'SIGTERM') => void): void {
  if (of.env[SEALED] === undefined || of.channel === undefined) return;
  of.on('message', ({ signal }: { signal?: unknown }) => {
    if (signal === 'SIGINT' || signal === 'SIGTERM') heard(signal);
  });
  of.on('disconnect', () => heard('SIGTERM'));
  of.channel.unref();
}
