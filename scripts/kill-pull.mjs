/**
 * Owns: the proof that a fetch survives `kill -9` at random moments: each time it goes on where it was, and what comes
 * out at the end has the right digest.
 * Refuses to know: how fetching works; it is driven by the command alone.
 *
 * usage: node scripts/kill-pull.mjs [KILLS] [SEED]   (after a build)
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const COMMIT = 'd'.repeat(40);
/** What the server gives each connection at a time, and how long it then waits: about 20 MB/s for each. */
const PIECE_BYTES = 200_000;
const PIECE_MS = 10;

/**
 * Fetches a model of `bytes` again and again, killing the process `kills` times, then to the end.
 *
 * @returns {Promise<{ kills: number, right: number, wrong: string[], sentBytes: number }>} `right`: kills after which the
 *   model came out right; `sentBytes`: what the server sent in all
 */
export async function killPull({ kills, seed, bytes }) {
  const random = seeded(seed);
  const data = Buffer.from(Array.from({ length: bytes }, () => random() * 256));
  const sha256 = createHash('sha256').update(data).digest('hex');
  const hub = await startHub(data, sha256);
  const wrong = [];
  let right = 0;
  let killed = 0;
  let home = mkdtempSync(join(tmpdir(), 'hadal-kill-'));
  try {
    // A fetch that fails by itself once will do so again.
    while (killed < kills && wrong.length === 0) {
      // Mostly while bytes come; now and then while it starts or checks.
      const afterMs = 250 + random() * ((bytes / PIECE_BYTES / 4) * PIECE_MS + 700);
      const { signal, code, errors } = await pullOnce(hub.url, home, afterMs);
      if (signal === 'SIGKILL') {
        killed++;
        if (killed % 3 !== 0 && killed < kills) continue;
        const last = await pullOnce(hub.url, home);
        const path = last.out.trim();
        const got = last.code === 0 ? digestOf(path) : `${last.code}: ${last.errors}`;
        if (got === sha256) right = killed;
        else wrong.push(got);
      } else if (code !== 0) wrong.push(errors);
      rmSync(home, { recursive: true, force: true });
      home = mkdtempSync(join(tmpdir(), 'hadal-kill-'));
    }
  } finally {
    hub.close();
    rmSync(home, { recursive: true, force: true });
  }
  return { kills: killed, right, wrong, sentBytes: hub.sentBytes() };
}

function pullOnce(url, home, killAfterMs) {
  const env = {
    ...process.env,
    HF_ENDPOINT: url,
    HF_HOME: join(home, 'hf'),
    HADAL_HOME: join(home, 'hadal'),
    HF_HUB_CACHE: '',
  };
  const child = spawn(process.execPath, [MAIN, 'pull', 'o/r:model.gguf'], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  let errors = '';
  child.stdout.on('data', (text) => {
    out += text;
  });
  child.stderr.on('data', (text) => {
    errors += text;
  });
  const stop = new AbortController();
  if (killAfterMs !== undefined) {
    sleep(killAfterMs, undefined, { signal: stop.signal }).then(
      () => child.kill('SIGKILL'),
      () => undefined,
    );
  }
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      stop.abort();
      resolve({ code, signal, out, errors });
    });
  });
}

function digestOf(path) {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

async function startHub(data, sha256) {
  let sent = 0;
  const server = createServer(async (request, response) => {
    if (request.url.startsWith('/api/')) {
      const lfs = { sha256, size: data.length };
      response.end(
        JSON.stringify({ sha: COMMIT, siblings: [{ rfilename: 'model.gguf', size: data.length, lfs }] }),
      );
      return;
    }
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const body = data.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, {
      'content-length': body.length,
      'content-range': `bytes ${from}-${to}/${data.length}`,
    });
    for (let at = 0; at < body.length && !response.destroyed; at += PIECE_BYTES) {
      const piece = body.subarray(at, at + PIECE_BYTES);
      response.write(piece);
      sent += piece.length;
      await sleep(PIECE_MS);
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    sentBytes: () => sent,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** mulberry32 */
function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [kills = '50', seed = String(Date.now() % 1e6)] = process.argv.slice(2);
  const result = await killPull({ kills: Number(kills), seed: Number(seed), bytes: 40_000_000 });
  process.stdout.write(`${JSON.stringify({ seed: Number(seed), ...result })}\n`);
  process.exitCode = result.wrong.length > 0 || result.right !== result.kills ? 1 : 0;
}
