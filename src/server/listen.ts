/**
 * Owns: the socket of the application: where it listens, what is refused before it is read, closing in order.
 * Refuses to know: routes, models.
 */
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import type { Problem } from '../api/problem.ts';
import { HadalError } from '../error.ts';
import { requestLineError, unreadableError } from '../http/host-check.ts';
import { problemOf } from '../http/problems.ts';
import type { ServerEnv } from './context.ts';
import { protocolOf } from './protocol.ts';

/** Where to listen. */
export interface ListenOptions {
  readonly host: string;
  /** 0 chooses a free one. */
  readonly port: number;
  /** A socket that listens already, by its number, instead. */
  readonly socket?: number;
  /** How long clients may take; what suits any network when absent. */
  readonly patience?: Patience;
}

/** How long is waited for clients. */
export interface Patience {
  /** For the headers of a request. */
  readonly headersMs: number;
  /** For a whole request. */
  readonly requestMs: number;
  /** For a client that takes nothing of what is sent to it. */
  readonly stalledMs: number;
}

/** A server that listens. */
export interface Listening {
  readonly url: string;
  /** Takes no more connections, and resolves when the last answer is out. */
  close(): Promise<void>;
  /** Drops what is still connected. */
  drop(): void;
}

const MAX_HEADER_BYTES = 16 * 1024;
const PATIENCE: Patience = { headersMs: 20_000, requestMs: 120_000, stalledMs: 120_000 };
/** Between two looks for clients that are too slow with their requests. */
const LONGEST_LOOK_MS = 5_000;
const CLOSE_EVERY_MS = 50;

/**
 * Listens.
 *
 * @throws HadalError `address-taken`, `address-impossible`
 * @example const { url } = await listen(app, { host: '127.0.0.1', port: 11434 });
 */
export async function listen(
  app: Pick<Hono<ServerEnv>, 'fetch'>,
  { host, port, socket, patience = PATIENCE }: ListenOptions,
): Promise<Listening> {
  const answer = getRequestListener(app.fetch as Parameters<typeof getRequestListener>[0], {
    overrideGlobalObjects: false,
  });
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: patience.headersMs,
      requestTimeout: patience.requestMs,
      connectionsCheckingInterval: Math.min(LONGEST_LOOK_MS, patience.headersMs),
      // The application refuses it, with words.
      requireHostHeader: false,
    },
    (incoming, outgoing) => {
      const error = requestLineError(incoming.url, incoming.rawHeaders);
      if (error) refuse(incoming, outgoing, error);
      else void answer(incoming, outgoing);
    },
  );
  // What is made for a client that does not read it waits in memory. One that waits for us has nothing to take.
  server.setTimeout(patience.stalledMs, (client) => {
    if (client.writableLength > 0) client.destroy();
  });
  answerUnreadable(server);
  await opened(server, host, port, socket);
  const address = server.address() as AddressInfo;
  const name = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `http://${name}:${address.port}`,
    close: () =>
      new Promise((resolve) => {
        // A connection is idle again only after its answer.
        const timer = setInterval(() => server.closeIdleConnections(), CLOSE_EVERY_MS);
        server.close(() => {
          clearInterval(timer);
          resolve();
        });
      }),
    drop: () => server.closeAllConnections(),
  };
}

/**
 * Refuses a place where nobody could listen, before work that would be in vain.
 *
 * @throws HadalError `address-taken`, `address-impossible`
 * @example await demandFree('127.0.0.1', 11434);
 */
export async function demandFree(host: string, port: number): Promise<void> {
  const server = createServer();
  await opened(server, host, port);
  await new Promise((resolve) => server.close(resolve));
}

function opened(server: Server, host: string, port: number, socket?: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(addressError(error, host, port)));
    server.listen(socket === undefined ? { host, port } : { fd: socket }, resolve);
  });
}

function addressError(error: NodeJS.ErrnoException, host: string, port: number): HadalError {
  const what = `${host}:${port}`;
  if (error.code === 'EADDRINUSE') {
    const next = 'another server runs there (Ollama uses 11434 too): stop it, or choose --port';
    return new HadalError('address-taken', { what, expected: 'a free port', got: 'one that is taken', next });
  }
  return new HadalError('address-impossible', {
    what,
    expected: 'an address of this machine',
    got: error.code ?? error.message,
    next: 'choose another --host or --port',
  });
}

/** Answers without the application, which would already have read the target. */
function refuse(incoming: IncomingMessage, outgoing: ServerResponse, error: HadalError): void {
  const problem = problemOf(error);
  outgoing.writeHead(problem.status, { 'content-type': 'application/json', connection: 'close' });
  outgoing.end(errorBody(incoming.url, problem));
  incoming.resume();
}

/** Answers what Node could not read as a request, and a CONNECT, which asks for another server. */
function answerUnreadable(server: Server): void {
  /** The newest response of each connection: nothing may be written into one that has begun. */
  const responses = new WeakMap<Duplex, ServerResponse>();
  server.prependListener('request', ({ socket }, outgoing) => responses.set(socket, outgoing));
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket) => {
    const response = responses.get(socket);
    const begun = response?.headersSent && !response.writableFinished;
    if (error.code === 'ECONNRESET' || !socket.writable || begun) {
      socket.destroy();
      return;
    }
    const [, target] = /^[A-Z]+ (\/\S*)/.exec(error.rawPacket?.toString('latin1', 0, 1024) ?? '') ?? [];
    writeProblem(socket, target, unreadableError(error.code, MAX_HEADER_BYTES));
  });
  server.on('connect', ({ url }: IncomingMessage, socket) => {
    writeProblem(socket, url, requestLineError(undefined, [])!);
  });
}

/** Writes a whole response where there is no object for one. */
function writeProblem(socket: Duplex, target: string | undefined, error: HadalError): void {
  const problem = problemOf(error);
  const body = errorBody(target, problem);
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.on('error', () => undefined);
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}

/** In the shape of the target's protocol; nothing is routed by it. */
function errorBody(target: string | undefined, problem: Problem): string {
  const path = target?.startsWith('/') ? target.split('?')[0]! : '';
  return JSON.stringify(protocolOf(path).error(problem));
}
