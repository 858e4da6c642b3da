/**
 * Owns: a server of one file, whole or by ranges, that prints its port.
 * Refuses to know: who asks.
 */
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';

const [path] = process.argv.slice(2);
const { size } = statSync(path);
const server = createServer((request, response) => {
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
  const [start, end] = from === undefined ? [0, size - 1] : [Number(from), Math.min(Number(to), size - 1)];
  const headers = { 'content-length': end - start + 1, 'accept-ranges': 'bytes', etag: '"one"' };
  if (from === undefined) response.writeHead(200, headers);
  else response.writeHead(206, { ...headers, 'content-range': `bytes ${start}-${end}/${size}` });
  createReadStream(path, { start, end, highWaterMark: 1 << 20 }).pipe(response);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
