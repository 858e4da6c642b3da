/** What the built command says of bad input: one sentence, one document, one exit code. */
import { truncateSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandOptions, hadal, scratchFolder } from '../fixtures/command.ts';
import { hugeToy, toyLlama } from '../fixtures/toy-model.ts';

let folder: Awaited<ReturnType<typeof scratchFolder>>;
const at = (name: string) => join(folder.path, name);

beforeAll(async () => {
  folder = await scratchFolder();
  const toy = toyLlama();
  await writeFile(at('toy.gguf'), toy);
  await writeFile(at('half.gguf'), toy.subarray(0, toy.length / 2));
  await writeFile(at('header.gguf'), toy.subarray(0, 20));
  await writeFile(at('empty.gguf'), '');
  await writeFile(at('notes.txt'), 'not a model');
  const lying = toy.slice();
  new DataView(lying.buffer).setBigUint64(8, 2n ** 40n, true);
  await writeFile(at('lying.gguf'), lying);
  await writeFile(at('text.gguf'), 'not a model at all, but long enough to be read as one');
  await writeFile(at('plain.gguf'), toyLlama({ chatTemplate: null }));
  await writeFile(at('strange.gguf'), toyLlama({ chatTemplate: '{{ bos }} something of its own' }));
  await writeFile(at('other.gguf'), toyLlama({ metadata: { 'general.architecture': 'mamba' } }));
  const { header, totalBytes } = hugeToy();
  await writeFile(at('huge.gguf'), header);
  truncateSync(at('huge.gguf'), totalBytes);
  await mkdir(at('folder'));
});
afterAll(() => folder[Symbol.asyncDispose]());

interface Mistake {
  readonly what: string;
  readonly args: readonly string[];
  readonly code: number;
  /** The stable code in JSON. */
  readonly error: string;
  /** What the sentence has to hold. */
  readonly says: readonly (string | RegExp)[];
  readonly options?: CommandOptions;
}

const offline = {
  env: {
    HF_ENDPOINT: 'http://127.0.0.1:1',
    PIP_INDEX_URL: 'http://127.0.0.1:1/simple',
    PIP_CONFIG_FILE: '/dev/null',
    PIP_RETRIES: '0',
  },
};

const MISTAKES: readonly Mistake[] = [
  {
    what: 'costs of no model',
    args: ['plan', '--cost', 'input-price=1'],
    code: 2,
    error: 'usage',
    says: ['MODEL is missing', 'usage: hadal plan'],
  },
  {
    what: 'a utilisation in percent',
    args: ['plan', 'v3', '--training', 'tokens=1e12,utilisation=40'],
    code: 2,
    error: 'usage',
    says: ['at most 1', '40 % is utilisation=0.4'],
  },
  {
    what: 'a quantization that nobody is known to publish, to be served',
    args: ['up', 'v2-lite:Q4_K_M', '--dry-run'],
    code: 1,
    error: 'quantization-needed',
    says: ['DeepSeek-V2-Lite in Q4_K_M', 'take it as published: hadal pull deepseek-ai/DeepSeek-V2-Lite'],
  },
  {
    what: 'a pull that would have to go through a proxy',
    args: ['pull', 'o/r:Q8_0'],
    code: 1,
    error: 'hub-unreachable',
    says: ['HTTPS_PROXY is not used', 'set HF_ENDPOINT to a mirror'],
    options: { env: { HF_ENDPOINT: 'http://127.0.0.1:1', HTTPS_PROXY: 'http://127.0.0.1:2' } },
  },
  {
    what: 'a pull of a file that is no model',
    args: ['pull', './notes.txt'],
    code: 1,
    error: 'file-not-a-model',
    says: ['./notes.txt', 'expected a GGUF or safetensors file', 'name the model file'],
  },
  {
    what: 'a bill of materials in a folder that is not there',
    args: ['audit', 'plain.gguf', '--bom', 'no/bom.json'],
    code: 1,
    error: 'file-unwritable',
    says: ['no/bom.json', 'ENOENT', 'name a file in a folder that exists'],
  },
  {
    what: 'no model',
    args: ['run'],
    code: 2,
    error: 'usage',
    says: ['MODEL is missing', 'usage: hadal run MODEL'],
  },
  {
    what: 'a missing file',
    args: ['run', './none.gguf', 'hi'],
    code: 1,
    error: 'model-missing',
    says: ['./none.gguf', 'nothing there'],
  },
  {
    what: 'an unknown name',
    args: ['run', 'smolm2-135m', 'hi'],
    code: 1,
    error: 'model-unknown',
    says: ['smolm2-135m', 'did you mean smollm2-135m?'],
  },
  {
    what: 'a folder that is no model',
    args: ['run', 'folder', 'hi'],
    code: 1,
    error: 'folder-empty',
    says: ['a folder with model.safetensors', 'got an empty folder', 'fetch the whole folder'],
  },
  {
    what: 'half a file',
    args: ['run', 'half.gguf', 'hi'],
    code: 1,
    error: 'gguf-truncated',
    says: ['half.gguf', /expected .*, got .*; .*fetch it again/],
  },
  {
    what: 'a file that ends in its header',
    args: ['inspect', 'header.gguf'],
    code: 1,
    error: 'gguf-truncated',
    says: ['header.gguf', 'ends at byte 20'],
  },
  {
    what: 'an empty file',
    args: ['inspect', 'empty.gguf'],
    code: 1,
    error: 'gguf-magic',
    says: ['empty.gguf', 'got an empty file'],
  },
  {
    what: 'a file that claims a million million tensors',
    args: ['run', 'lying.gguf', 'hi'],
    code: 1,
    error: 'gguf-lies',
    says: ['lying.gguf', '1099511627776 tensors'],
  },
  {
    what: 'a file of another kind',
    args: ['run', 'text.gguf', 'hi'],
    code: 1,
    error: 'gguf-magic',
    says: ['text.gguf', 'begins with "GGUF"'],
  },
  {
    what: 'an unknown architecture',
    args: ['run', 'other.gguf', 'hi'],
    code: 1,
    error: 'architecture-unknown',
    says: ['mamba', 'llama'],
  },
  {
    what: 'a model larger than any memory',
    args: ['run', 'huge.gguf', 'hi'],
    code: 1,
    error: 'model-too-large',
    says: ['huge.gguf', /fits the [\d,]+ bytes of memory here, got one that needs [\d,]+ bytes/],
  },
  {
    what: 'a prompt longer than the context',
    args: ['run', 'toy.gguf', 'x'.repeat(600)],
    code: 1,
    error: 'prompt-too-long',
    says: ['fewer than 512 tokens', /got 6\d\d/, 'shorten it'],
  },
  {
    what: 'a context beyond the model',
    args: ['run', 'toy.gguf', 'hi', '--context', '513'],
    code: 1,
    error: 'context-impossible',
    says: ['2 to 512 tokens', 'got 513'],
  },
  {
    what: 'a model without a chat template',
    args: ['run', 'plain.gguf', 'hi'],
    code: 1,
    error: 'chat-template-missing',
    says: ['no template', '--raw'],
  },
  {
    what: 'a chat template of another family',
    args: ['run', 'strange.gguf', 'hi'],
    code: 1,
    error: 'chat-template-unknown',
    says: ['something of its own', '--raw'],
  },
  {
    what: 'a flag with a typing slip',
    args: ['run', 'toy.gguf', 'hi', '--tempreature', '1'],
    code: 2,
    error: 'usage',
    says: ['--tempreature is not a flag', 'did you mean --temperature?'],
  },
  {
    what: 'a value out of range',
    args: ['run', 'toy.gguf', 'hi', '--top-p', '2'],
    code: 2,
    error: 'usage',
    says: ['--top-p: expected a number from 0 to 1, got "2"'],
  },
  {
    what: 'a word too many',
    args: ['inspect', 'toy.gguf', 'half.gguf'],
    code: 2,
    error: 'usage',
    says: ['too many words'],
  },
  {
    what: 'a command with a typing slip',
    args: ['inspct', 'toy.gguf'],
    code: 2,
    error: 'usage',
    says: ['inspct is not a command', 'did you mean hadal inspect?'],
  },
  {
    what: 'a file in place of a command',
    args: ['./toy.gguf'],
    code: 2,
    error: 'usage',
    says: ['did you mean hadal run ./toy.gguf?'],
  },
  {
    what: 'an empty prompt',
    args: ['run', 'toy.gguf'],
    code: 2,
    error: 'usage',
    says: ['the prompt', 'neither'],
    options: { input: '\n' },
  },
  {
    what: 'an unknown shell',
    args: ['completion', 'tcsh'],
    code: 2,
    error: 'usage',
    says: ['bash, zsh or fish'],
  },
  {
    what: 'a named model that is not on disk',
    args: ['inspect', 'smollm2-135m'],
    code: 1,
    error: 'model-missing',
    says: ['/hadal/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf', 'hadal run smollm2-135m'],
    options: { env: { XDG_DATA_HOME: '/nonexistent/data' } },
  },
  {
    what: 'an unknown backend',
    args: ['version'],
    code: 1,
    error: 'environment',
    says: ['HADAL_BACKEND', 'cuda'],
    options: { env: { HADAL_BACKEND: 'cuda' } },
  },
];

describe.each(MISTAKES)('$what', ({ args, code, error, says, options }) => {
  test('is one sentence', async () => {
    const failed = await hadal(args, { cwd: folder.path, ...options });
    expect(failed).toMatchObject({ code, signal: null, out: '' });
    expect(failed.err).toMatch(/^hadal: [^\n]+\n$/);
    for (const part of says) expect(failed.err).toMatch(part);
  });

  test('is one document with --json', async () => {
    const failed = await hadal([...args, '--json'], { cwd: folder.path, ...options });
    expect(failed).toMatchObject({ code, signal: null, err: '' });
    expect(JSON.parse(failed.out)).toEqual({ error: { code: error, message: expect.any(String) } });
  });
});

test('where no hub can be reached, the sentence says how to give a file', async () => {
  await using home = await scratchFolder();
  const failed = await hadal(['run', 'smollm2-135m', 'hi'], {
    env: { ...offline.env, HADAL_HOME: home.path, HOME: home.path },
  });
  expect(failed).toMatchObject({ code: 1, out: '' });
  expect(failed.err).toContain('fetching SmolLM2-135M-Instruct, Q4_1 (Apache-2.0), 98.4 MB, from ');
  expect(failed.err).toContain(join(home.path, 'models', 'smollm2-135m'));
  expect(failed.err).toMatch(/hadal: smollm2-135m could not be fetched .*give a file instead \(hadal run /);
});

test('a stack trace only on demand', async () => {
  const args = ['run', './none.gguf', 'hi'];
  expect((await hadal(args)).err).not.toContain('    at ');
  expect((await hadal(args, { env: { HADAL_DEBUG: '1' } })).err).toContain('    at ');
});
