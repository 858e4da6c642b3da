/** A pull whose disk really fills midway: a file system of its own in memory, and something else that takes the room. */
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { inOwnMounts, MAIN, scratchFolder } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';

const DATA = Buffer.from(Array.from({ length: 30_000_000 }, (_, i) => (i * 7 + (i >> 11)) & 0xff));
const SHA = createHash('sha256').update(DATA).digest('hex');
const PIECE_BYTES = 500_000;

/** $0 is the folder, $1 node, $2 the program, $3 the address. Room for the file, until something else takes it. */
const SCRIPT = `
mount -t tmpfs -o size=60m none "$0" || exit 9
( until ls "$0"/models/urls/*/*.incomplete; do sleep 0.05; done; head -c 100M /dev/zero > "$0/other" ) >/dev/null 2>&1 &
filler=$!
"$1" "$2" pull "$3"; echo "first $?"
wait $filler
find "$0/models" -name '*.gguf'
rm "$0/other"
"$1" "$2" pull "$3"; echo "second $?"
find "$0/models" -name '*.gguf' -exec sha256sum {} +
`;

/** Serves the file at 10 MB/s, so that the disk is full before it has come. */
async function slowServer() {
  const server = createServer(async (request, response) => {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const body = DATA.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, {
      'content-length': body.length,
      'content-range': `bytes ${from}-${to}/${DATA.length}`,
    });
    for (let at = 0; at < body.length && !response.destroyed; at += PIECE_BYTES) {
      response.write(body.subarray(at, at + PIECE_BYTES));
      await sleep(50);
    }
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/m.gguf#sha256=${SHA}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describeWith(['mounts'], 'a disk that fills', () => {
  test('midway is said with what to do, keeps nothing by the name of a model, and the pull goes on later', async () => {
    await using folder = await scratchFolder();
    await using server = await slowServer();
    const home = join(folder.path, 'home');
    mkdirSync(home);
    const words = [home, process.execPath, MAIN, server.url];
    const { lines, err } = await inOwnMounts(SCRIPT, words, { HADAL_HOME: home });
    const path = join(home, 'models', 'urls', SHA, 'm.gguf');
    expect(err).toContain('expected room for the model, got none left; free some space');
    expect(lines).toEqual(['first 1', path, 'second 0', `${SHA} ${path}`, '']);
  });
});
