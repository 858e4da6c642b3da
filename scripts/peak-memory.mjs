/**
 * Owns: what a reader needs at its worst: hostile files below 1 MB, each read alone in this process.
 * Refuses to know: which bounds hold (test/e2e/peak-memory.test.ts), random changes (fuzz-audit.mjs, fuzz-formats.mjs).
 *
 * `node scripts/peak-memory.mjs NAME`, after a build, prints JSON: the outcome, milliseconds, and the most memory the process
 * had resident in bytes. `nothing` is a process that reads nothing; without a NAME all names are printed.
 */

import { readFileSync } from 'node:fs';
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

/** Names, what reads them, and their bytes, made only when they are wanted. */
const FILES = {
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

const name = process.argv[2];
if (name === undefined) console.log(JSON.stringify(Object.keys(FILES)));
else {
  const [read, make] = FILES[name];
  const bytes = make();
  if (bytes.length > MOST) throw new Error(`${name}: ${bytes.length} bytes`);
  const startMs = performance.now();
  let outcome = 'read';
  try {
    await read(bytes);
  } catch (error) {
    if (!(error instanceof HadalError)) throw error;
    outcome = error.code;
  }
  const ms = performance.now() - startMs;
  const peakBytes = process.resourceUsage().maxRSS * 1024;
  console.log(JSON.stringify({ outcome, bytes: bytes.length, ms, peakBytes }));
}
