/**
 * Makes test/golden/quantize/imatrix-peer.json: what llama-imatrix finds of SmolLM2, dequantized to F32, on a text, at some
 * columns of every tensor, and how far Hadal's is from it at all of them: of the same file, and of the Q4_1 that it is from.
 * Of the Q4_1 itself llama-imatrix finds something else, since there it rounds activations to eight bits.
 *
 *   node scripts/reference/imatrix-peer.mjs MODEL LLAMA_IMATRIX VERSION OUT     (after a build)
 *     MODEL          SmolLM2-135M-Instruct.Q4_1.gguf
 *     LLAMA_IMATRIX  the program, built from ik_llama.cpp (`-no-fug` has it see ffn_gate and ffn_up)
 *     VERSION        what it was built from, for the golden
 *     OUT            test/golden/quantize/imatrix-peer.json
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openFile } from '../../dist/formats/byte-source.node.js';
import { meansOf, readImatrix } from '../../dist/formats/imatrix.js';
import { collectImatrix } from '../../dist/quantize/collect-imatrix.node.js';
import { quantizeFile } from '../../dist/quantize/quantize.node.js';

const [path, program, version, out] = process.argv.slice(2);
const TEXT = 'test/fixtures/texts/devils-dictionary.txt';
const [CHUNK_TOKENS, CHUNKS, COLUMNS] = [512, 2, 12];
const textPath = fileURLToPath(new URL(`../../${TEXT}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'hadal-imatrix-'));
try {
  const exact = join(folder, 'f32.gguf');
  await quantizeFile({ path, out: exact, fileType: 'F32', requantize: true });
  const of = { f32: await theirImatrix(exact), ofQ4: await theirImatrix(path) };
  const ours = { f32: await ourImatrix(exact), q4: await ourImatrix(path) };
  const tensors = {};
  for (const [name, entry] of of.f32.entries) {
    const means = meansOf(entry);
    const step = means.length / COLUMNS;
    const columns = Array.from({ length: COLUMNS }, (_, i) => Math.floor(i * step));
    tensors[name] = columns.map((column) => Number(means[column].toPrecision(6)));
  }
  const document = {
    certificate: {
      script: 'scripts/reference/imatrix-peer.mjs',
      oracle: `llama-imatrix of ${version}`,
      model: basename(path),
      text: `${TEXT}: the first ${CHUNKS} chunks of ${CHUNK_TOKENS} tokens`,
      date: new Date().toISOString().slice(0, 10),
    },
    chunkTokens: CHUNK_TOKENS,
    chunks: CHUNKS,
    /** From llama-imatrix's of F32, over all columns: the norm of the difference as a part of its norm, by tensor. */
    apart: {
      hadalF32: distances(ours.f32, of.f32),
      hadalQ4_1: distances(ours.q4, of.f32),
      llamaQ4_1: distances(of.ofQ4, of.f32),
    },
    /** Means of squares, as llama-imatrix has them, at columns floor(i * columns / 12). */
    tensors,
  };
  writeFileSync(out, `${JSON.stringify(document).replaceAll('],"blk', '],\n"blk')}\n`);
  console.log(document.apart, Object.keys(tensors).length);
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function theirImatrix(model) {
  const file = join(folder, 'llama.dat');
  const words = ['-m', model, '-f', textPath, '-o', file, '-c', `${CHUNK_TOKENS}`, '--chunks', `${CHUNKS}`];
  execFileSync(program, [...words, '-t', '2', '-no-fug'], { stdio: 'ignore' });
  const source = await openFile(file);
  const read = await readImatrix(source);
  await source.close();
  return read;
}

function ourImatrix(path) {
  const text = readFileSync(textPath, 'utf8');
  return collectImatrix({ path, text, dataset: TEXT, chunkTokens: CHUNK_TOKENS, chunks: CHUNKS });
}

/** Over the tensors of either, which have to be the same. */
function distances(of, from) {
  const names = (imatrix) => [...imatrix.entries.keys()].sort();
  if (names(of).join() !== names(from).join()) throw new Error('other tensors');
  const all = names(of).map((name) =>
    distance(meansOf(of.entries.get(name)), meansOf(from.entries.get(name))),
  );
  all.sort((a, b) => a - b);
  return { tensors: all.length, median: rounded(all[all.length >> 1]), most: rounded(all.at(-1)) };
}

function distance(ours, theirs) {
  let [difference, whole] = [0, 0];
  for (const [i, mean] of theirs.entries()) {
    difference += (ours[i] - mean) ** 2;
    whole += mean ** 2;
  }
  return Math.sqrt(difference / whole);
}

function rounded(x) {
  return Number(x.toPrecision(3));
}
