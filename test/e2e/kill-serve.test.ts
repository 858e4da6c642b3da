/** A server that is killed outright leaves nothing: no engine, no port, no lease, and of its cache on disk whole pages only. */
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Running, scratchFolder, startHadal } from '../fixtures/command.ts';
import { openRaw } from '../fixtures/raw-http.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  await writeFile(toy, toyLlama({ contextTokens: 32_768, layers: 24 }));
});
afterAll(() => folder[Symbol.asyncDispose]());

const state = (pid: number): string | undefined => {
  const path = `/proc/${pid}/stat`;
  return existsSync(path) ? readFileSync(path, 'utf8').split(') ')[1]![0] : undefined;
};

/** Processes that a process has started. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1]!.split(' ')[1] === String(pid);
      } catch {
        return false;
      }
    })
    .map(Number);
}

async function serve(port: string): Promise<{ running: Running; url: string; engine: number }> {
  const config = join(folder.path, 'serve.json');
  await writeFile(config, JSON.stringify({ disk_cache_bytes: 1e8, cache_tokens: 32_768 }));
  const env = { HADAL_HOME: join(folder.path, 'home'), HADAL_LEASE: `hadal-kill-${process.pid}` };
  const running = startHadal(['serve', toy, '--port', port, '--config', config], { env });
  await running.shows('the page is at');
  const [engine] = childrenOf(running.child.pid!);
  return { running, url: /http:\S+(?=\/v1)/.exec(running.out())![0], engine: engine! };
}

/** Asks for a stream, and waits until it says something. */
async function asked(url: string, body: object, says: string): Promise<void> {
  const request = { model: 'toy', stream: true, temperature: 0, ...body };
  const socket = openRaw(url, { method: 'POST', target: '/v1/completions', body: JSON.stringify(request) });
  socket.on('error', () => undefined);
  let text = '';
  while (!text.includes(says)) text += String((await once(socket, 'data'))[0]);
}

test.skipIf(process.platform !== 'linux').each([
  ['in the middle of a prompt', { prompt: 'x'.repeat(30_000), max_tokens: 1 }, 'prefill'],
  ['in the middle of an answer', { prompt: 'hello', max_tokens: 30_000 }, '"text"'],
])('killed %s', async (_name, body, says) => {
  const { running, url, engine } = await serve('0');
  const { port } = new URL(url);
  await asked(url, body, says);
  running.child.kill('SIGKILL');
  await running.finished;
  await expect.poll(() => [undefined, 'Z'].includes(state(engine)), { timeout: 20_000 }).toBe(true);

  // Another takes its port, and its turn to compute, at once.
  const next = await serve(port);
  const answer = await fetch(`${next.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'toy', prompt: 'hello', max_tokens: 3 }),
  });
  expect(await answer.json()).toMatchObject({ usage: { completion_tokens: 3 } });
  next.running.child.kill('SIGTERM');
  const { code, err } = await next.running.finished;
  expect(code).toBe(0);
  expect(err).not.toMatch(/"level":[45]0/);
});
