/** Owns: every command of docs/guide/curl.md, run by bash and curl as it stands there. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { haveProgram } from '../fixtures/needs.ts';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const BASE = 'http://127.0.0.1:11434';
const page = readFileSync(new URL('../../docs/guide/curl.md', import.meta.url), 'utf8');
/** Blocks of a console, cut into commands; what follows a command's first line is indented. */
const commands = [...page.matchAll(/```console\n([\s\S]*?)```/g)]
  .flatMap(([, block = '']) => block.split(/^\$ /m))
  .filter((command) => command.startsWith('curl'));

/** What an answer holds, by a part of its command; the first that fits. */
const EXPECTED: readonly (readonly [part: string, answer: RegExp])[] = [
  ['"other"', /"error"/],
  ['/v1/models', /"id":"model"/],
  ['/healthz', /"status":"ok"/],
  ['/openapi.json', /"openapi":"3/],
  ['/metrics', /hadal_/],
  ['"stream": true', /"content":"F"[\s\S]*"usage":\{[\s\S]*data: \[DONE\]/],
  ['json_schema', /\{\\"number\\":\s?42\}/],
  ['/chat/completions', /"content":"Forty-two\."[\s\S]*"finish_reason":"stop"/],
  ['/v1/completions', /"object":"text_completion"/],
  ['/v1/responses', /"text":"Forty-two\."/],
  ['/v1/embeddings', /"index":1,"embedding":\[-?\d/],
  ['count_tokens', /\{"input_tokens":\d+\}/],
  ['/v1/messages', /"type":"text","text":"Forty-two\."/],
  ['/api/tags', /"name":"model"/],
  ['/api/show', /"capabilities":\["completion"/],
  ['/api/chat', /"thinking":"[\s\S]*"done":true/],
  ['/api/generate', /"response":"Forty-two\."/],
  ['/api/embed', /"embeddings":\[\[-?\d/],
  ['/api/ps', /"size":\d{3,}/],
  ['/infill', /"content":" \* r \* r"/],
  ['/tokenize', /"tokens":\[\d/],
  ['/props', /"n_ctx":8192/],
];

describe.skipIf(!haveProgram('curl') || !haveProgram('bash'))('docs/guide/curl.md [needs curl, bash]', () => {
  let folder = '';
  let server: TestServer;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-curl-'));
    const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
      { text: 'No story.' },
      { text: '{"number": 42}', after: 'as JSON' },
      { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
      { text: ' * r * r', after: 'return 3.14' },
    ]);
    server = await startTestServer({
      served: [{ name: 'model', aliases: [], source: path, pinned: false }],
      local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
    });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('has a command for every route that is expected, and nothing else', () => {
    expect(commands.length).toBeGreaterThanOrEqual(EXPECTED.length);
    for (const command of commands) {
      expect(
        EXPECTED.some(([part]) => command.includes(part)),
        command,
      ).toBe(true);
    }
  });

  test.each(commands)('%s', async (command) => {
    const run = command.replaceAll(BASE, server.url);
    const { stdout } = await promisify(execFile)('bash', ['-c', run], { maxBuffer: 1 << 24 });
    const [, answer] = EXPECTED.find(([part]) => command.includes(part))!;
    expect(stdout).toMatch(answer);
  });

  test.each([
    ['--http1.0', ''],
    ['--http1.1', 'chunked'],
  ])('a stream over %s', async (version, encoding) => {
    const body = JSON.stringify({ model: 'model', prompt: 'hello', max_tokens: 2, stream: true });
    const args = ['-sS', '-i', '--raw', version, '-H', 'content-type: application/json', '-d', body];
    const { stdout } = await promisify(execFile)('curl', [...args, `${server.url}/v1/completions`]);
    const [head = '', ...rest] = stdout.split('\r\n\r\n');
    expect(/transfer-encoding: (\w+)/i.exec(head)?.[1] ?? '').toBe(encoding);
    expect(rest.join('').includes('\r\n')).toBe(encoding === 'chunked');
    expect(rest.join('')).toContain('data: [DONE]\n\n');
  });

  test('no fault of the server', () => {
    expect(server.errors).toEqual([]);
  });
});
