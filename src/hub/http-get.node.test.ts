import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { openUrl, readBody } from './http-get.node.ts';

const never = new AbortController().signal;

async function listening(server: Server) {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`http://127.0.0.1:${port}/`),
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

async function textOf(url: URL): Promise<string> {
  const pieces: Buffer[] = [];
  const answer = await openUrl(url, { signal: never });
  await readBody(answer, { signal: never, stallMs: 10_000 }, async (some) => {
    pieces.push(...some);
  });
  return Buffer.concat(pieces).toString();
}

test('a connection is used again, and one that its host closed meanwhile is no trouble', async () => {
  const asked: number[] = [];
  let connections = 0;
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    const mine = ++connections;
    sockets.push(socket);
    let answers = 0;
    socket.on('error', () => undefined);
    socket.on('data', () => {
      asked.push(mine);
      // The third request on the first connection finds it gone.
      if (++answers === 3) socket.resetAndDestroy();
      else socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi');
    });
  });
  await using host = await listening(server);
  for (let i = 0; i < 3; i++) expect(await textOf(host.url)).toBe('hi');
  expect(asked).toEqual([1, 1, 1, 2]);
  for (const socket of sockets) socket.destroy();
});

test('bytes arrive whole and in order, whatever the sizes of pieces and however slowly they are taken', async () => {
  const data = Buffer.from(Array.from({ length: 5_000_000 }, (_, i) => (i * 7 + (i >> 9)) & 0xff));
  const server = createHttpServer((_, response) => {
    response.writeHead(200, { 'content-length': data.length });
    for (let at = 0, size = 1; at < data.length; at += size, size = (size * 3) % 400_009) {
      response.write(data.subarray(at, at + size));
    }
    response.end();
  });
  await using host = await listening(server);
  const pieces: Buffer[] = [];
  await readBody(
    await openUrl(host.url, { signal: never }),
    { signal: never, stallMs: 10_000 },
    async (some) => {
      await new Promise((resolve) => setImmediate(resolve));
      pieces.push(...some);
    },
  );
  expect(Buffer.concat(pieces).equals(data)).toBe(true);
});

test('what came is handed on when the host falls silent', async () => {
  const server = createHttpServer((_, response) => {
    response.writeHead(200, { 'content-length': 10 }).write('hi');
  });
  await using host = await listening(server);
  const stop = new AbortController();
  const pieces: Buffer[] = [];
  const reading = readBody(
    await openUrl(host.url, { signal: stop.signal }),
    { signal: stop.signal, stallMs: 600_000 },
    async (some) => void pieces.push(...some),
  );
  await expect.poll(() => Buffer.concat(pieces).toString(), { timeout: 60_000 }).toBe('hi');
  stop.abort(new Error('enough'));
  await expect(reading).rejects.toThrow('enough');
});

test('bytes that are encoded in spite of the request are refused', async () => {
  const server = createHttpServer((_, response) => {
    response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('hi'));
  });
  await using host = await listening(server);
  await expect(textOf(host.url)).rejects.toThrow('expected bytes as they are, got them encoded as gzip');
});

test('an abort ends an answer midway with its own reason', async () => {
  const server = createHttpServer((_, response) => {
    response.writeHead(200, { 'content-length': 10 }).write('hi');
  });
  await using host = await listening(server);
  const stop = new AbortController();
  const answer = await openUrl(host.url, { signal: stop.signal });
  const reading = readBody(answer, { signal: stop.signal, stallMs: 60_000 }, async () => undefined);
  stop.abort(new Error('enough'));
  await expect(reading).rejects.toThrow('enough');
});
