/**
 * Owns: the proof, in the real server and the real engine, that nothing goes out: violations planted in these very processes
 * are each caught, by the program and, where the program is gone round, by the system.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startHadal } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

const HANG_MS = 120_000;
const PLANT = fileURLToPath(new URL('../fixtures/planted.mjs', import.meta.url));
/** What each violation has to be called where it is caught. */
const CAUGHT: Readonly<Record<string, RegExp>> = {
  fetch: /^offline-connection$/,
  http: /^offline-connection$/,
  socket: /^offline-connection$/,
  socketWithoutPath: /^offline-connection$/,
  socketInHex: /^offline-connection$/,
  udp: /^offline-connection$/,
  lookup: /^offline-lookup$/,
  resolve: /^offline-lookup$/,
  program: /^offline-program$/,
  programNow: /^offline-program$/,
  shell: /^offline-program$/,
  otherScript: /^offline-program$/,
  own: /^offline-program$/,
  ownWithOptions: /^offline-program$/,
  ownWithLibrary: /^offline-program$/,
  fork: /^offline-program$/,
  threadSocket: /^offline-connection$/,
  threadProgram: /^offline-program$/,
  unguardedSocket: /^(ENETUNREACH|ECONNREFUSED|EADDRNOTAVAIL)$/,
  unguardedLookup: /^(EAI_AGAIN|ENOTFOUND)$/,
};

interface Planted {
  readonly script: string;
  readonly namespace: string;
  readonly results?: Readonly<Record<string, string>>;
}

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-planted-'));
  writeFileSync(join(folder, 'toy.gguf'), toyLlama({}));
  writeFileSync(join(folder, 'other.mjs'), '');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function until<T>(look: () => T | undefined | false, what: string): Promise<T> {
  for (const endMs = performance.now() + HANG_MS; performance.now() < endMs; await sleep(20)) {
    const found = look();
    if (found) return found;
  }
  throw new Error(`in vain: ${what}`);
}

/** Serves a toy, has it answer, and has both of its processes try everything. */
async function served(
  flags: readonly string[],
  names: string,
): Promise<{ planted: Planted[]; reached: number }> {
  let reached = 0;
  const outside = createServer((_request, response) => {
    reached += 1;
    response.end('outside');
  });
  outside.on('connection', () => {
    reached += 1;
  });
  await new Promise<void>((resolve) => outside.listen(0, '127.0.0.1', resolve));
  const { port } = outside.address() as AddressInfo;
  const running = startHadal(['serve', join(folder, 'toy.gguf'), '--port', '0', '--json', ...flags], {
    env: {
      NODE_OPTIONS: `--import ${PLANT}`,
      PLANTED: JSON.stringify([folder, port, names]),
      XDG_CONFIG_HOME: folder,
    },
  });
  try {
    await running.shows('}');
    const { url } = JSON.parse(running.out()) as { url: string };
    const answer = await fetch(`${url}/v1/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'toy', prompt: 'hello', max_tokens: 4 }),
    });
    expect(answer.status).toBe(200);
    const ready = () =>
      readdirSync(folder)
        .filter((name) => name.endsWith('.ready'))
        .map((name) => basename(name, '.ready'));
    const planted: Planted[] = [];
    for (const pid of ready()) {
      const facts = JSON.parse(readFileSync(join(folder, `${pid}.ready`), 'utf8')) as Planted;
      // What only waits for the sealed one is no server, and nothing is asked of it.
      const waits = flags.length > 0 && facts.namespace === readlinkSync('/proc/self/ns/net');
      if (waits) continue;
      expect(readlinkSync(`/proc/${pid}/ns/net`)).toBe(facts.namespace);
      process.kill(Number(pid), 'SIGUSR2');
      const path = join(folder, `${pid}.json`);
      await until(() => existsSync(path), `process ${pid}, ${facts.script}`);
      planted.push({ ...facts, results: JSON.parse(readFileSync(path, 'utf8')) });
    }
    return { planted, reached };
  } finally {
    // What was planted keeps sockets open, which an orderly end would wait for; the sealed one is told by who waits for it.
    running.child.kill(flags.length > 0 ? 'SIGTERM' : 'SIGKILL');
    await running.finished;
    outside.close();
  }
}

describeWith(['namespace'], 'violations in the real server and engine', () => {
  test(
    'each is caught in both of them, in a namespace that is not ours',
    async () => {
      const { planted, reached } = await served(['--offline'], '');
      expect(planted.map(({ script }) => basename(script)).sort()).toEqual([
        'engine-main.node.js',
        'main.js',
      ]);
      for (const { script, namespace, results = {} } of planted) {
        expect(namespace).not.toBe(readlinkSync('/proc/self/ns/net'));
        expect(Object.keys(results)).toEqual(Object.keys(CAUGHT));
        for (const [name, result] of Object.entries(results)) {
          // The server may start its engine, and as it is only: an engine may start nothing.
          const allowed = name === 'own' && basename(script) === 'main.js';
          expect([basename(script), name, result]).toEqual([
            basename(script),
            name,
            expect.stringMatching(allowed ? /^done close 0$/ : CAUGHT[name]!),
          ]);
        }
      }
      expect(reached).toBe(0);
    },
    HANG_MS,
  );

  test(
    'without --offline the same attempts succeed in both, so that it is not they that are broken',
    async () => {
      const { planted, reached } = await served([], '^(?!.*([lL]ookup|resolve))');
      expect(planted.length).toBe(2);
      for (const { script, results = {} } of planted) {
        // Whether names can be looked up is a matter of where the test runs.
        expect(Object.keys(results).length).toBe(Object.keys(CAUGHT).length - 3);
        for (const [name, result] of Object.entries(results))
          expect([basename(script), name, result]).toEqual([
            basename(script),
            name,
            expect.stringMatching(name === 'ownWithOptions' ? /^done close 7$/ : /^done/),
          ]);
      }
      expect(reached).toBeGreaterThan(0);
    },
    HANG_MS,
  );

  test(
    'every command that loads a model runs in such a namespace, by the environment and the usual configuration',
    async () => {
      const toy = join(folder, 'toy.gguf');
      const text = join(folder, 'text.txt');
      writeFileSync(text, 'sixteen tokens or more of any text');
      mkdirSync(join(folder, 'hadal'));
      writeFileSync(join(folder, 'hadal', 'serve.json'), '{"offline": true}');
      const commands = [
        ['run', toy, 'hello', '--raw', '-n', '2'],
        ['tokenize', toy, 'hello'],
        ['quantize', toy, 'Q8_0', '--out', join(folder, 'out.gguf'), '--force'],
        ['imatrix', toy, text, '--ctx', '16', '--out', join(folder, 'imatrix.gguf'), '--force'],
        ['plan', toy],
      ];
      for (const args of commands) {
        for (const env of [{ HADAL_OFFLINE: '1' }, { XDG_CONFIG_HOME: folder }]) {
          const options = { NODE_OPTIONS: `--import ${PLANT}`, PLANTED: JSON.stringify([folder, 0, '']) };
          const { finished } = startHadal([...args, '--json'], { env: { ...options, ...env } });
          const { code, err } = await finished;
          expect([args[0], code, err]).toEqual([args[0], 0, expect.not.stringContaining('namespace')]);
          const namespaces = readdirSync(folder)
            .filter((name) => name.endsWith('.ready'))
            .map((name) => {
              const facts = JSON.parse(readFileSync(join(folder, name), 'utf8')) as Planted;
              rmSync(join(folder, name));
              return facts.namespace === readlinkSync('/proc/self/ns/net');
            });
          expect([args[0], namespaces.sort()]).toEqual([args[0], [false, true]]);
        }
      }
    },
    HANG_MS,
  );

  test('an environment that says it is sealed is not believed', async () => {
    for (const value of ['yes', '3']) {
      const { finished } = startHadal(['run', join(folder, 'toy.gguf'), 'hi', '--offline', '--json'], {
        env: { HADAL_SEALED: value },
      });
      const { code, out } = await finished;
      expect([code, JSON.parse(out)]).toMatchObject([1, { error: { code: 'offline-unsealed' } }]);
    }
  });
});

test(
  'what needs a network is refused by name, before anything is done',
  async () => {
    const commands = [
      ['up', 'offline-command'],
      ['launch', 'offline-command'],
      ['pull', 'offline-model', 'org/model'],
      ['pull', 'offline-model', 'deepseek-r1:Q4_K_M'],
      ['tokenize', 'offline-model', 'smollm2-135m', 'hello'],
      ['run', 'offline-model', 'smollm2-135m', 'hello'],
      ['serve', 'offline-model', 'smollm2-135m', '--port', '0'],
    ] as const;
    for (const [name, expected, ...rest] of commands) {
      const env = { HADAL_OFFLINE: '1', HADAL_HOME: folder, HF_HOME: folder };
      const { finished } = startHadal([name, ...rest, '--json'], { env });
      const { code, out } = await finished;
      expect([name, code, JSON.parse(out)]).toMatchObject([name, 1, { error: { code: expected } }]);
    }
  },
  HANG_MS,
);
