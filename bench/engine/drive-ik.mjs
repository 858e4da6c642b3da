/**
 * Owns: ik_llama.cpp as a measured engine: its llama-bench, once for every question, as its own users measure it.
 * Refuses to know: what is measured, the other engines.
 *
 * llama-bench loads the model and warms up before it measures; it has prompts and answers of one sequence, no batches.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { answerParent, peakBytes } from './child.mjs';

/** Between two looks at how much memory it has. */
const LOOK_MS = 20;

let options;
let mostBytes = 0;

/** What llama-bench says of one test. */
async function bench(test) {
  const { program, model, threads, cacheDType, repack } = options;
  const cache = cacheDType.toLowerCase();
  const common = [
    '-m',
    model,
    '-t',
    `${threads}`,
    '-ngl',
    '0',
    '-r',
    '1',
    '-o',
    'json',
    '-rtr',
    repack ? '1' : '0',
  ];
  const child = spawn(program, [...common, '-ctk', cache, '-ctv', cache, ...test]);
  const said = { out: '', error: '' };
  child.stdout.setEncoding('utf8').on('data', (text) => {
    said.out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said.error = (said.error + text).slice(-1000);
  });
  const look = setInterval(() => {
    mostBytes = Math.max(mostBytes, peakBytes(child.pid) ?? 0);
  }, LOOK_MS);
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  clearInterval(look);
  if (code !== 0) throw new Error(`llama-bench ended with ${code}: ${said.error.trim()}`);
  const [of] = JSON.parse(said.out);
  return { ms: of.samples_ns[0] / 1e6, commit: of.build_commit };
}

answerParent({
  async open({ folder, repack, model, threads, cacheDType }) {
    const program = join(folder, 'llama-bench');
    options = { program, model, threads, cacheDType, repack };
    const { commit } = await bench(['-p', '1', '-n', '0', '-w', '0']);
    return { ms: 0, about: { name: `ik_llama.cpp ${commit}${repack ? ', -rtr 1' : ''}`, threads } };
  },

  async prefill({ tokens }) {
    const { ms } = await bench(['-p', `${tokens}`, '-n', '0']);
    return { ms, tokens };
  },

  async decode({ depth, tokens }) {
    const { ms } = await bench(['-p', '0', '-n', '0', '-gp', `${depth},${tokens}`]);
    return { ms, tokens };
  },

  peak: () => ({ bytes: mostBytes }),
});
