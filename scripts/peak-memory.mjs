/**
 * Owns: what a reader needs at its worst: hostile files below 1 MB, each read alone in this process.
 * Refuses to know: which bounds hold (test/e2e/peak-memory.test.ts), random changes (fuzz-audit.mjs, fuzz-formats.mjs).
 *
 * `node scripts/peak-memory.mjs NAME [--whole]`, after a build, prints JSON: the outcome, milliseconds, and the most memory the
 * process had resident in bytes. `nothing` is a process that reads nothing, and `corpus` one that reads all files of
 * test/golden/audit, and poisoned templates, one after another. With --whole the file lies on the disk and is audited as `hadal audit` does.
 * Without a NAME all names are printed, and which of them can be audited.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, deflateRawSync, inflateSync } from 'node:zlib';
import { auditPath } from '../dist/audit/audit.node.js';
import { readDigests } from '../dist/audit/digests.js';
import { kindOf } from '../dist/audit/file-kind.js';
import { judgePickleFile } from '../dist/audit/pickle-file.js';
import { readSignature } from '../dist/audit/signature.js';
import { auditTemplate, readKnownTemplates } from '../dist/audit/template.js';
import { templatesOfJson } from '../dist/audit/templates-of.js';
import { HadalError } from '../dist/error.js';
import { bytesSource } from '../dist/formats/byte-source.js';
import { readGguf } from '../dist/formats/gguf/read.js';
import { readSafetensors } from '../dist/formats/safetensors/read.js';
import { readIndex } from '../dist/formats/safetensors/shards.js';
import { tokenizerFromGguf } from '../dist/tokenizer/from-gguf.js';
import { tokenizerFromJson } from '../dist/tokenizer/from-json.js';

const MOST = 1_000_000;
const latin = (text) => Buffer.from(text, 'latin1');
const times = (piece, before = '', behind = '') => {
  const [start, end] = [latin(before), latin(behind)];
  const middle = Buffer.alloc(
    Math.floor((MOST - start.length - end.length) / piece.length) * piece.length,
    latin(piece),
  );
  return Buffer.concat([start, middle, end]);
};
const u32 = (value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};
const u64 = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};
const text = (value) => Buffer.concat([u64(value.length), latin(value)]);
const ggufHead = (tensors, pairs) => Buffer.concat([latin('GGUF'), u32(3), u64(tensors), u64(pairs)]);
const pieces = (count, piece) => Buffer.concat(Array.from({ length: count }, (_, i) => piece(i)));
const array = (key, type, count, bytes) => Buffer.concat([text(key), u32(9), u32(type), u64(count), bytes]);
const safetensors = (header) => Buffer.concat([u64(header.length), latin(header)]);

const pickle = (bytes) => judgePickleFile(bytesSource(bytes, 'hostile'), kindOf(bytes.subarray(0, 512)));
const gguf = async (bytes) => tokenizerFromGguf((await readGguf(bytesSource(bytes, 'hostile'))).metadata);
const weights = (bytes) => readSafetensors(bytesSource(bytes, 'hostile'));
const ofText = (read) => (bytes) => read(bytes.toString('utf8'));
/** A tokenizer as published, with another vocabulary. */
const tokenizerWith = (model) => {
  const published = new URL('../test/golden/hf/bf16/tokenizer.json', import.meta.url);
  const json = JSON.parse(readFileSync(published, 'utf8'));
  return Buffer.from(JSON.stringify({ ...json, model: { ...json.model, ...model } }));
};
const vocabulary = ofText((json) => tokenizerFromJson(JSON.parse(json), {}, []));

/** An archive with one entry, packed. */
const packed = (name, bytes) => {
  const data = deflateRawSync(bytes, { level: 9 });
  const facts = Buffer.alloc(22);
  facts.writeUInt16LE(20, 0);
  facts.writeUInt16LE(8, 4);
  facts.writeUInt32LE(crc32(bytes), 10);
  facts.writeUInt32LE(data.length, 14);
  facts.writeUInt32LE(bytes.length, 18);
  const lengths = Buffer.of(name.length, 0, 0, 0);
  const local = Buffer.concat([latin('PK\x03\x04'), facts, lengths, latin(name), data]);
  const central = Buffer.concat([latin('PK\x01\x02\x14\0'), facts, lengths, Buffer.alloc(14), latin(name)]);
  const end = Buffer.concat([
    latin('PK\x05\x06'),
    Buffer.alloc(4),
    Buffer.of(1, 0, 1, 0),
    u32(central.length),
    u32(local.length),
    Buffer.alloc(2),
  ]);
  return Buffer.concat([local, central, end]);
};
/** Bytes that are packed nearly as well as an archive may be: runs of zeros, and a byte of chance every so often. */
const packable = (bytes, start = Buffer.alloc(0)) => {
  const all = Buffer.alloc(bytes);
  for (let at = 0, seed = 1; at < bytes; at += 1000) {
    seed = (seed * 48_271) % 2_147_483_647;
    all.writeUInt32LE(seed, Math.min(at, bytes - 4));
  }
  start.copy(all);
  return all;
};

/** All that is kept of malicious and benign files: each is small, and what any of them needs is less than what all of them do. */
const corpus = async () => {
  const golden = (name) =>
    JSON.parse(readFileSync(new URL(`../test/golden/${name}.json`, import.meta.url), 'utf8'));
  for (const name of ['malicious', 'benign', 'benign-numpy-1']) {
    for (const { base64, deflate } of golden(`audit/${name}`).files)
      await refusedOrRead(() =>
        pickle(deflate ? inflateSync(Buffer.from(deflate, 'base64')) : Buffer.from(base64, 'base64')),
      );
  }
  for (const name of ['deepseek', 'llama-cpp']) {
    for (const { template } of golden(`chat-templates/${name}`).templates)
      for (const text of [template, `${template}{{ messages[0].content == 'x' }}`])
        await refusedOrRead(() => auditTemplate(text, readKnownTemplates()));
  }
  const signed = golden('audit/signed');
  for (const bundle of [signed.keyBundle, signed.certificateBundle])
    await refusedOrRead(() => readSignature(bundle, 'kept'));
};

/** Names, what reads them, and their bytes, made only when they are wanted. */
const FILES = {
  corpus: [corpus, () => Buffer.alloc(0)],
  'archive that unpacks to its pickle': [
    pickle,
    () => packed('archive/data.pkl', packable(60_000_000, latin('\x80\x02'))),
  ],
  'archive that unpacks to an array': [
    pickle,
    () =>
      packed(
        'a.npy',
        packable(
          100_000_000,
          latin(
            `\x93NUMPY\x01\0\x76\0${"{'descr': '|u1', 'fortran_order': False, 'shape': (99999872,), }".padEnd(117)}\n`,
          ),
        ),
      ),
  ],
  nothing: [() => {}, () => Buffer.alloc(0)],
  'pickle of marks': [pickle, () => times('(', '\x80\x02', '.')],
  'pickle of empty lists': [pickle, () => times(']', '\x80\x02', '.')],
  'pickle of dictionaries in the memo': [pickle, () => times('}\x94', '\x80\x04', '.')],
  'pickle of doubled lists': [pickle, () => times('2\x86', '\x80\x02]', '.')],
  'pickle of strings': [pickle, () => times('\x8c\x01a\x94', '\x80\x04', '.')],
  'pickle of long texts': [pickle, () => times('X\x00\x00\x10\x00', '\x80\x02', '.')],
  'pickle of protocol 0': [pickle, () => times('I1\n', '(', '.')],
  'pickle of names': [pickle, () => times('ccollections\nOrderedDict\n', '\x80\x02', '.')],
  'archive of entries': [pickle, () => times(`PK\x03\x04${'\0'.repeat(22)}\x01\0\0\0a`)],
  'archive with a directory alone': [
    pickle,
    () => times(`PK\x01\x02${'\0'.repeat(24)}\x01\0${'\0'.repeat(16)}a`, 'PK\x03\x04'),
  ],
  'array with a long header': [pickle, () => times('(', '\x93NUMPY\x02\x00\x00\x42\x0f\x00')],
  'GGUF of keys': [
    (bytes) => readGguf(bytesSource(bytes, 'hostile')),
    () =>
      Buffer.concat([
        ggufHead(0, 45_000),
        pieces(45_000, (i) => Buffer.concat([text(`k${i}`), u32(7), Buffer.of(1)])),
      ]),
  ],
  'GGUF of empty texts': [
    gguf,
    () => Buffer.concat([ggufHead(0, 1), array('tokenizer.ggml.tokens', 8, 124_000, Buffer.alloc(992_000))]),
  ],
  'GGUF of a vocabulary': [
    gguf,
    () =>
      Buffer.concat([
        ggufHead(0, 4),
        Buffer.concat([text('tokenizer.ggml.model'), u32(8), text('gpt2')]),
        array(
          'tokenizer.ggml.tokens',
          8,
          25_000,
          pieces(25_000, (i) => text(`t${i}`)),
        ),
        array(
          'tokenizer.ggml.merges',
          8,
          30_000,
          pieces(30_000, (i) => text(`t t${i}`)),
        ),
        array('tokenizer.ggml.token_type', 5, 25_000, Buffer.alloc(100_000)),
      ]),
  ],
  'GGUF of arrays in arrays': [
    gguf,
    () =>
      Buffer.concat([
        ggufHead(0, 1),
        text('a'),
        u32(9),
        pieces(80_000, () => Buffer.concat([u32(9), u64(1)])),
      ]),
  ],
  'GGUF of tensors': [
    (bytes) => readGguf(bytesSource(bytes, 'hostile')),
    () =>
      Buffer.concat([
        ggufHead(22_000, 0),
        pieces(22_000, (i) => Buffer.concat([text(`tensor${i}`), u32(1), u64(1), u32(0), u64(i * 32)])),
      ]),
  ],
  'safetensors of tensors': [
    weights,
    () =>
      safetensors(
        `{${Array.from({ length: 15_000 }, (_, i) => `"t${i}":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}`).join(',')}}`,
      ),
  ],
  'safetensors of brackets': [
    weights,
    () => safetensors(`{"a":${'['.repeat(400_000)}${']'.repeat(400_000)}}`),
  ],
  'safetensors of dimensions': [
    weights,
    () => safetensors(`{"a":{"dtype":"F32","shape":[${'1,'.repeat(450_000)}1],"data_offsets":[0,4]}}`),
  ],
  'index of tensors': [
    ofText((json) => readIndex(json, 'hostile')),
    () =>
      latin(
        `{"weight_map":{${Array.from({ length: 30_000 }, (_, i) => `"t${i}":"m${i}.safetensors"`).join(',')}}}`,
      ),
  ],
  'tokenizer of texts': [
    vocabulary,
    () =>
      tokenizerWith({ vocab: Object.fromEntries(Array.from({ length: 45_000 }, (_, i) => [`t${i}`, i])) }),
  ],
  'tokenizer of merges': [
    vocabulary,
    () => tokenizerWith({ merges: Array.from({ length: 150_000 }, () => 'a b') }),
  ],
  'template of conditions': [
    ofText((template) => auditTemplate(template, readKnownTemplates())),
    () => latin('{% if a %}'.repeat(6_500)),
  ],
  'template of additions': [
    ofText((template) => auditTemplate(template, readKnownTemplates())),
    () => latin(`{{ ${'a+'.repeat(32_000)}a }}`),
  ],
  'template of outputs': [
    ofText((template) => auditTemplate(template, readKnownTemplates())),
    () => latin('{{messages[0].content}}'.repeat(2_800)),
  ],
  'templates in JSON': [
    ofText((json) => templatesOfJson('hostile', json)),
    () =>
      latin(
        JSON.stringify({
          chat_template: Array.from({ length: 30_000 }, () => ({ name: 'a', template: '' })),
        }),
      ),
  ],
  'signature of brackets': [ofText((json) => readSignature(json, 'hostile')), () => times('[')],
  'signature of certificates': [
    ofText((json) => readSignature(json, 'hostile')),
    () =>
      latin(
        JSON.stringify({
          mediaType: 'application/vnd.dev.sigstore.bundle',
          verificationMaterial: {
            x509CertificateChain: {
              certificates: Array.from({ length: 40_000 }, () => ({ rawBytes: 'AAAA' })),
            },
          },
          dsseEnvelope: {},
        }),
      ),
  ],
  'digests of short names': [
    ofText((list) => readDigests(list, 'hostile')),
    () => latin(Array.from({ length: 13_000 }, (_, i) => `${'ab'.repeat(32)}  f${i}`).join('\n')),
  ],
};

/** Files that `hadal audit` takes, by what their names begin with. */
const PLACES = [
  [/^(pickle|archive)/, 'a.pt'],
  [/^archive that unpacks to an array/, 'a.npz'],
  [/^array/, 'a.npy'],
  [/^GGUF/, 'a.gguf'],
  [/^safetensors/, 'a.safetensors'],
  [/^template of/, 'a.jinja'],
  [/^templates in JSON/, 'tokenizer_config.json'],
  [/^nothing/, 'a.jinja'],
];
const placeOf = (name) => PLACES.findLast(([names]) => names.test(name))?.[1];

async function refusedOrRead(work) {
  try {
    await work();
    return 'read';
  } catch (error) {
    if (!(error instanceof HadalError)) throw error;
    return error.code;
  }
}

async function audited(name, bytes) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-peak-'));
  try {
    const path = join(folder, placeOf(name));
    writeFileSync(path, bytes);
    return (await auditPath(path, { allowPickle: true })).verdict;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const name = process.argv[2];
if (name === undefined) {
  const names = Object.keys(FILES);
  console.log(JSON.stringify({ names, audited: names.filter((one) => placeOf(one) !== undefined) }));
} else {
  const [read, make] = FILES[name];
  if (process.argv[3] === '--make') process.stdout.write(make());
  else await measure(name, read, make);
}

async function measure(name, read, make) {
  // What takes much memory to be made is made by another process.
  const bytes = /unpacks/.test(name)
    ? execFileSync(process.execPath, [fileURLToPath(import.meta.url), name, '--make'], {
        maxBuffer: 2 * MOST,
      })
    : make();
  if (bytes.length > MOST) throw new Error(`${name}: ${bytes.length} bytes`);
  const startMs = performance.now();
  const outcome =
    process.argv[3] === '--whole' ? await audited(name, bytes) : await refusedOrRead(() => read(bytes));
  const ms = performance.now() - startMs;
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ outcome, bytes: bytes.length, ms, peakBytes }));
}
