/**
 * Owns: policies: what they admit and refuse, and that what was admitted is what is loaded.
 */
import { createHash, createSign, generateKeyPairSync } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { admit, readPolicy } from '../../src/audit/policy.node.ts';
import { closeModelFile, heldFiles, openModelFile, openWholeModel } from '../../src/formats/open.node.ts';
import { writeSafetensors } from '../../src/formats/safetensors/write.ts';
import type { HeldFiles } from '../../src/formats/tensor-info.ts';
import { type OpenOptions, openModel, openTokenizer } from '../../src/runtime/open.node.ts';
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

/** Signs all files of a folder by a new key, and says what its policy trusts. */
function sign(path: string, algorithm: 'sha256' | 'blake2b', shardBytes?: number): object {
  const hash = (bytes: Uint8Array) =>
    createHash(algorithm === 'sha256' ? 'sha256' : 'blake2b512')
      .update(bytes)
      .digest('hex');
  const resources = readdirSync(path)
    .sort()
    .flatMap((name) => {
      const bytes = readFileSync(join(path, name));
      if (shardBytes === undefined) return [{ name, digest: hash(bytes), algorithm }];
      return Array.from({ length: Math.ceil(bytes.length / shardBytes) }, (_, i) => {
        const [start, end] = [i * shardBytes, Math.min(bytes.length, (i + 1) * shardBytes)];
        return { name: `${name}:${start}:${end}`, digest: hash(bytes.subarray(start, end)), algorithm };
      });
    });
  const root = createHash('sha256');
  for (const { digest } of resources) root.update(Buffer.from(digest, 'hex'));
  const serialization = {
    method: shardBytes === undefined ? 'files' : 'shards',
    hash_type: algorithm,
    allow_symlinks: false,
    ignore_paths: ['model.sig'],
    ...(shardBytes === undefined ? {} : { shard_size: shardBytes }),
  };
  const payload = Buffer.from(
    JSON.stringify({
      _type: 'https://in-toto.io/Statement/v1',
      subject: [{ name: 'model', digest: { sha256: root.digest('hex') } }],
      predicateType: 'https://model_signing/signature/v1.0',
      predicate: { resources, serialization },
    }),
  );
  const payloadType = 'application/vnd.in-toto+json';
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const signed = Buffer.concat([
    Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `),
    payload,
  ]);
  const sig = createSign('sha256').update(signed).sign(privateKey, 'base64');
  const bundle = {
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: { publicKey: { hint: 'test' } },
    dsseEnvelope: { payload: payload.toString('base64'), payloadType, signatures: [{ sig }] },
  };
  writeFileSync(join(path, 'model.sig'), JSON.stringify(bundle));
  put('signer.pub', publicKey.export({ type: 'spki', format: 'pem' }));
  return { signers: ['signer.pub'] };
}

test.each([
  ['sha256', undefined],
  ['blake2b', undefined],
  ['sha256', 1000],
  ['blake2b', 1000],
] as const)(
  'a signature by %s, in parts of %s, is held against the texts that are used',
  async (by, shardBytes) => {
    const path = join(folder, 'model');
    cpSync(golden('hf/bf16'), path, { recursive: true });
    const rules = sign(path, by, shardBytes);
    for (const name of ['none', ...readdirSync(path).filter((one) => /json$|jinja$/.test(one))]) {
      const at = join(path, name);
      const kept = name === 'none' ? undefined : readFileSync(at, 'utf8');
      // Read while it is another one, and back in its place when the folder is held against the signature.
      if (kept !== undefined) writeFileSync(at, kept.replace(/(.)$/s, ' $1'));
      const file = await openWholeModel(path);
      if (kept !== undefined) writeFileSync(at, kept);
      const found = await admit(await policyOf(rules), path, file).then(
        () => 'admitted',
        (error: { code: string }) => error.code,
      );
      expect([name, found]).toEqual([name, name === 'none' ? 'admitted' : 'policy-signature']);
      await closeModelFile(file);
    }
  },
);

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

test.each<OpenOptions['host'] & string>(['worker', 'process'])(
  'nor is anything else of a folder: shards, index, tokenizer and texts: %s',
  async (host) => {
    const env = { ...process.env, HADAL_BACKEND: 'reference' };
    const right = golden('hf/bf16');
    const answer = async (path: string, admitting: OpenOptions['admit']) => {
      await using model = await openModel(path, { env, host, admit: admitting! });
      let text = '';
      const options = { maxTokens: 8, sampling: { temperature: 0 } };
      for await (const delta of model.answerer.complete('hello', options)) {
        if (delta.type === 'content') text += delta.text;
      }
      return text;
    };
    const expected = await answer(right, async () => {});
    expect(expected).not.toBe('');
    const names = readdirSync(right);
    const shard = 'model-00002-of-00003.safetensors';
    for (const name of names) {
      const path = join(folder, `${host}-${name}`);
      cpSync(right, path, { recursive: true });
      const bytes = readFileSync(join(path, name));
      // Each is a valid file that another answer, or none, would come from.
      if (name.endsWith('.safetensors')) bytes.fill(0, bytes.length - 2000);
      if (name === 'model.safetensors.index.json') {
        writeFileSync(join(path, 'evil.safetensors'), readFileSync(join(path, shard)).fill(0, 40_000));
      }
      const swapped = name.endsWith('.safetensors')
        ? bytes
        : name === 'model.safetensors.index.json'
          ? bytes.toString('utf8').replaceAll(shard, 'evil.safetensors')
          : '{}';
      const admitting: OpenOptions['admit'] = async () => {
        renameSync(put('swap', swapped), join(path, name));
      };
      expect([name, await answer(path, admitting)]).toEqual([name, expected]);
    }
  },
  120_000,
);

test('a tokenizer that appears while a folder is admitted is not read, nor one that the weights call so', async () => {
  const path = join(folder, 'late');
  cpSync(golden('hf/bf16'), path, { recursive: true });
  const tokenizer = readFileSync(join(path, 'tokenizer.json'), 'utf8');
  rmSync(join(path, 'tokenizer.json'));
  const appearing = async () => void put('late/tokenizer.json', tokenizer);
  const env = { ...process.env, HADAL_BACKEND: 'reference' };
  await expect(openModel(path, { env, admit: appearing })).rejects.toMatchObject({
    code: 'tokenizer-missing',
  });
  await expect(openTokenizer(path, { admit: async () => {} })).resolves.toBeDefined();
  rmSync(join(path, 'tokenizer.json'));
  await expect(openTokenizer(path, { admit: appearing })).rejects.toMatchObject({
    code: 'tokenizer-missing',
  });
  const tensors = [{ name: 'a', dtype: 'F32' as const, shape: [1], data: new Uint8Array(4) }];
  const weights = writeSafetensors({
    metadata: [
      ['tokenizer.json', '{}'],
      ['format', 'pt'],
    ],
    tensors,
  });
  const single = await openModelFile(dirname(put('single/model.safetensors', weights)));
  expect([...single.metadata]).toEqual([['format', 'pt']]);
  await closeModelFile(single);
});

test('a file that is not held is never opened', async () => {
  const right = golden('hf/bf16');
  const file = await openWholeModel(right);
  const held = heldFiles(right, file);
  const refusal = (path: string, files: HeldFiles) =>
    openModelFile(path, files).then(
      () => 'opened',
      (error: { code: string }) => error.code,
    );
  expect(await refusal(right, held)).toBe('opened');
  expect(await refusal(right, { ...held, files: held.files.slice(1) })).toBe('file-not-held');
  expect(await refusal(golden('hf/f32'), held)).toBe('file-not-held');
  expect(await refusal(golden('gguf/python.gguf'), held)).toBe('file-not-held');
  await closeModelFile(file);
});

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
    'hadal/serve.json',
    JSON.stringify({ models: [{ source: path, pin: true }], port: 0, policy: bad }),
  );
  const served = await hadal(['serve', '--config', config]);
  expect(served).toMatchObject({ code: 1, err: expect.stringContaining('policy') });
}, 120_000);

test('every command that loads a model asks the policy, by the environment and the usual configuration', async () => {
  const toy = put('toy.gguf', toyLlama({}));
  put('judged.txt', 'hello hello hello hello hello hello hello hello');
  put('gguf-only.json', JSON.stringify({ formats: ['gguf'] }));
  put('safetensors-only.json', JSON.stringify({ formats: ['safetensors'] }));
  const commands: [string[], 'gguf' | 'safetensors'][] = [
    [['run', toy, 'hello', '--raw', '-n', '2'], 'gguf'],
    [['infill', toy, '--prefix-file', join(folder, 'judged.txt')], 'gguf'],
    [['evaluate', toy, join(folder, 'judged.txt')], 'gguf'],
    [['bench', toy], 'gguf'],
    [['tokenize', toy, 'hello'], 'gguf'],
    [['quantize', toy, 'Q8_0', '--out', join(folder, 'out.gguf')], 'gguf'],
    [['quantize', toy, '--compare', join(folder, 'judged.txt'), '--out', join(folder, 'out.jsonl')], 'gguf'],
    [['imatrix', toy, join(folder, 'judged.txt'), '--out', join(folder, 'out.gguf')], 'gguf'],
    [['convert', golden('hf/bf16'), '--out', join(folder, 'out.gguf')], 'safetensors'],
  ];
  const code = async (args: string[], env: Record<string, string>) => {
    const { out } = await hadal([...args, '--json'], { env });
    return (JSON.parse(out) as { error?: { code: string } }).error?.code;
  };
  for (const [args, format] of commands) {
    const other = format === 'gguf' ? 'safetensors' : 'gguf';
    const refusing = join(folder, `${other}-only.json`);
    expect([args[0], await code(args, { HADAL_POLICY: refusing })]).toEqual([args[0], 'policy-format']);
    // A name in a configuration is beside it.
    put('hadal/serve.json', JSON.stringify({ policy: `../${other}-only.json` }));
    expect([args[0], await code(args, { XDG_CONFIG_HOME: folder })]).toEqual([args[0], 'policy-format']);
    expect(existsSync(join(folder, 'out.gguf'))).toBe(false);
    if (args[0] !== 'tokenize' && args[0] !== 'convert') continue;
    expect([args[0], await code(args, { HADAL_POLICY: join(folder, `${format}-only.json`) })]).toEqual([
      args[0],
      undefined,
    ]);
  }
}, 240_000);
