/**
 * Owns: one measurement in a process that has done nothing before: `node once.mjs gguf|plain|json PATH` prints ms as JSON.
 * Refuses to know: rounds, tables.
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { tokenizerFromGguf } from '../../dist/tokenizer/from-gguf.js';
import { tokenizerFromJson } from '../../dist/tokenizer/from-json.js';

const [what, path] = process.argv.slice(2);
const out = {};
/** More than any header here. */
const PLAIN_BYTES = 16 << 20;

async function measure(part, work) {
  const startMs = performance.now();
  const value = await work();
  out[part] = performance.now() - startMs;
  return value;
}

if (what === 'gguf') {
  const file = await measure('open', () => openModelFile(path));
  await measure('tokenizer', () => tokenizerFromGguf(file.metadata));
  await closeModelFile(file);
} else if (what === 'plain') {
  await measure('open', () => readPlainly(path));
} else {
  const json = await measure('parse', () => JSON.parse(readFileSync(path, 'utf8')));
  await measure('tokenizer', () => tokenizerFromJson(json));
}

/** A GGUF header by a reader that believes everything: the mark for ours. */
function readPlainly(file) {
  const descriptor = openSync(file, 'r');
  const bytes = Buffer.alloc(PLAIN_BYTES);
  readSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
  let at = 8;
  const past = (length) => {
    at += length;
    return at - length;
  };
  const u32 = () => bytes.readUInt32LE(past(4));
  const u64 = () => Number(bytes.readBigUInt64LE(past(8)));
  const text = () => {
    const length = u64();
    const start = past(length);
    return bytes.toString('utf8', start, at);
  };
  const skip = (length) => bytes.subarray(past(length), at);
  const sizes = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
  const value = (type) => {
    if (type === 8) return text();
    if (type !== 9) return skip(sizes[type]);
    const of = u32();
    const count = u64();
    return of === 8 ? Array.from({ length: count }, text) : skip(count * sizes[of]);
  };
  const [tensors, pairs] = [u64(), u64()];
  const metadata = new Map(Array.from({ length: pairs }, () => [text(), value(u32())]));
  const table = Array.from({ length: tensors }, () => {
    return { name: text(), shape: Array.from({ length: u32() }, u64), type: u32(), offset: u64() };
  });
  return { metadata, table };
}

console.log(JSON.stringify(out));
