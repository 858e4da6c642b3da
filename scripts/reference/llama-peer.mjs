/**
 * Owns: llama.cpp's library as a scorer and as a quantizer, by the Python scripts beside this one.
 * Refuses to know: what is compared with what.
 */
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const python = process.env.HADAL_TEST_PYTHON ?? 'python3';

/** The folder with libllama of an installed node-llama-cpp. */
export function librariesOf(peer) {
  return join(resolve(peer), 'node_modules/@node-llama-cpp/linux-x64/bins/linux-x64');
}

/** What a golden says of what judged it, and of the model: the padded SmolLM2 in the quantizer and decoder of `peer`. */
export function judgedBy(peer) {
  const manifest = join(resolve(peer), 'node_modules/node-llama-cpp/package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  return {
    oracle: `llama_model_quantize and llama_decode of llama.cpp v0.5.0 (node-llama-cpp ${version})`,
    model:
      'SmolLM2-135M-Instruct.Q4_1.gguf, dequantized to F16 and padded to rows of 768 (scripts/pad-model.mjs)',
  };
}

/** Quantizes with llama_model_quantize, to the number of a file type; `imatrix` is a file in the older layout. */
export async function llamaQuantize({ peer, path, out, number, threads = 2, imatrix }) {
  const script = here('../../bench/quantize/llama.py');
  const words = [script, librariesOf(peer), resolve(path), resolve(out), `${number}`, `${threads}`];
  if (imatrix) words.push(resolve(imatrix));
  await promisify(execFile)(python, words);
}

/**
 * A model in llama.cpp, to be closed: an engine as far as `evaluateText` goes. One thread, since its threads wait for each
 * other by spinning, which beside other work takes many times longer.
 */
export function llamaScorer({ peer, path, windowTokens = 512, threads = 1 }) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-llama-'));
  const words = [librariesOf(peer), resolve(path), `${windowTokens}`, `${threads}`];
  const child = spawn(python, [here('llama_logits.py'), ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const closed = new Promise((done) => child.once('close', done));
  return {
    async *score({ ids }) {
      const out = join(folder, 'logits.f32');
      // What comes before the second half is never judged.
      const first = Math.floor(ids.length / 2);
      child.stdin.write(`${JSON.stringify({ ids: [...ids], first, out })}\n`);
      const { value } = await lines.next();
      if (value === undefined) throw new Error(`llama.cpp ended on ${path}`);
      const bytes = readFileSync(out);
      const logits = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      yield { firstPosition: first, logits };
    },
    async [Symbol.asyncDispose]() {
      child.stdin.end();
      await closed;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
