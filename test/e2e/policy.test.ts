/**
 * Owns: policies: what they admit and refuse, and that what was admitted is what is loaded.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { admit, readPolicy } from '../../src/audit/policy.node.ts';
import { closeModelFile, openModelFile } from '../../src/formats/open.node.ts';
import { writeSafetensors } from '../../src/formats/safetensors/write.ts';
import { type OpenOptions, openModel } from '../../src/runtime/open.node.ts';
import { hadal } from '../fixtures/command.ts';
import { toyLlama } from '../fixtures/toy-model.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-policy-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (name: string, bytes: Uint8Array | string) => {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return path;
};
const sha256 = (bytes: Uint8Array | string) => createHash('sha256').update(bytes).digest('hex');
const policyOf = (rules: object) => readPolicy(put('policy.json', JSON.stringify(rules)));
const judged = async (rules: object, path: string) => {
  const file = await openModelFile(path);
  try {
    await admit(await policyOf(rules), path, file);
    return 'admitted';
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    await closeModelFile(file);
  }
};
const golden = (path: string) => fileURLToPath(new URL(`../golden/${path}`, import.meta.url));

test('formats and digests', async () => {
  const toy = toyLlama({});
  const path = put('toy.gguf', toy);
  expect(await judged({}, path)).toBe('admitted');
  expect(await judged({ formats: ['safetensors'] }, path)).toBe('policy-format');
  expect(await judged({ digests: { 'toy.gguf': sha256(toy) } }, path)).toBe('admitted');
  expect(await judged({ digests: { 'toy.gguf': sha256('x') } }, path)).toBe('policy-digest');
  expect(await judged({ digests: { 'other.gguf': sha256(toy) } }, path)).toBe('policy-digest');
});

test('templates: published, harmless, or by digest', async () => {
  const path = golden('hf/fp8');
  const template = readFileSync(join(path, 'chat_template.jinja'), 'utf8');
  expect(await judged({ templates: ['published'] }, path)).toBe('policy-template');
  expect(await judged({ templates: ['published', 'audited'] }, path)).toBe('admitted');
  expect(await judged({ templates: [sha256(template)] }, path)).toBe('admitted');
  expect(await judged({ templates: [] }, path)).toBe('policy-template');
});

test('signers: the right one, another, none, and a file that changed', async () => {
  const kept = JSON.parse(readFileSync(golden('audit/signed.json'), 'utf8'));
  put('signer.pub', kept.signerKey);
  put('other.pub', kept.otherKey);
  // The signed folder has no weights that could be read; the signature is held against the same folder with some.
  for (const [name, text] of Object.entries(kept.files as Record<string, string>)) put(`model/${name}`, text);
  const weights = writeSafetensors({
    metadata: [],
    tensors: [{ name: 'a', dtype: 'F32', shape: [1], data: new Uint8Array(4) }],
  });
  const path = put('model/weights.safetensors', weights);
  expect(await judged({ signers: ['signer.pub'] }, path)).toBe('policy-signature');
  put('model/model.sig', kept.keyBundle);
  const file = await openModelFile(path);
  const refusal = async (rules: object) =>
    admit(await policyOf(rules), path, file).then(
      () => 'admitted',
      (error: Error) => error.message,
    );
  expect(await refusal({ signers: ['signer.pub'] })).toContain('it is not what was signed');
  expect(await refusal({ signers: ['other.pub'] })).toContain('none of them');
  // The same with the bytes that were signed, as if they were weights.
  const signed = { ...file, sources: [] };
  writeFileSync(path, kept.files['weights.safetensors']);
  await admit(await policyOf({ signers: ['signer.pub'] }), path, signed);
  put('model/more.json', '{}');
  expect(await judged({ signers: ['signer.pub'] }, golden('gguf/python.gguf'))).toBe('policy-signature');
  await expect(admit(await policyOf({ signers: ['signer.pub'] }), path, signed)).rejects.toThrow(
    'does not list it',
  );
  await closeModelFile(file);
});

test.each<OpenOptions['host'] & string>(['worker', 'process'])(
  'what was admitted is what is loaded, though another file takes its place: %s',
  async (host) => {
    const answer = async (path: string, options: OpenOptions) => {
      await using model = await openModel(path, { ...options, host });
      let text = '';
      for await (const delta of model.answerer.complete('hello', {
        maxTokens: 8,
        sampling: { temperature: 0 },
      })) {
        if (delta.type === 'content') text += delta.text;
      }
      return text;
    };
    const right = put('right.gguf', toyLlama({ seed: 1 }));
    const wrong = put('wrong.gguf', toyLlama({ seed: 2 }));
    for (const backend of ['native', 'reference']) {
      const env = { ...process.env, HADAL_BACKEND: backend };
      const expected = await answer(right, { env });
      expect(await answer(wrong, { env })).not.toBe(expected);
      const path = put('model.gguf', readFileSync(right));
      const swapping: OpenOptions['admit'] = async () => {
        renameSync(put('swap.gguf', readFileSync(wrong)), path);
      };
      expect(await answer(path, { env, admit: swapping })).toBe(expected);
      expect(readFileSync(path)).toEqual(readFileSync(wrong));
    }
  },
  120_000,
);

test('run and serve refuse by the flag, the environment and the configuration', async () => {
  const toy = toyLlama({});
  const path = put('toy.gguf', toy);
  const good = put('good.json', JSON.stringify({ digests: { 'toy.gguf': sha256(toy) } }));
  const bad = put('bad.json', JSON.stringify({ formats: ['safetensors'] }));
  const run = async (args: string[], env = {}) => {
    const { code, out } = await hadal(['run', path, 'hello', '--raw', '-n', '2', '--json', ...args], { env });
    return code === 0 ? 'answered' : JSON.parse(out).error.code;
  };
  expect(await run(['--policy', good])).toBe('answered');
  expect(await run(['--policy', bad])).toBe('policy-format');
  expect(await run([], { HADAL_POLICY: bad })).toBe('policy-format');
  expect(await run(['--policy', put('broken.json', '{"formats": ["pickle"]}')])).toBe('policy-broken');
  const config = put(
    'serve.json',
    JSON.stringify({ models: [{ source: path, pin: true }], port: 0, policy: bad }),
  );
  const served = await hadal(['serve', '--config', config]);
  expect(served).toMatchObject({ code: 1, err: expect.stringContaining('policy') });
}, 120_000);
