/**
 * Owns: `npm run bench:server`: what serving costs and gives, over loopback, beside llama.cpp on the same file.
 * Refuses to know: what a row measures, how results are drawn.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { startEngineHost } from '../../dist/engine/host.node.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { describeModel } from '../../dist/model/load.js';
import { engineMainFile } from '../../dist/runtime/engine-file.node.js';
import { openTokenizer } from '../../dist/runtime/open.node.js';
import { startChild } from '../engine/child.mjs';
import { costOf } from '../engine/limits.mjs';
import { writePage } from './page.mjs';
import { ROWS } from './rows.mjs';
import { serve } from './served.mjs';

const USAGE = `usage: npm run bench:server -- MODEL.gguf [flags]

  --rows LIST      of ${ROWS.map(({ name }) => name).join(', ')}; all otherwise
  --rounds N       how often each is measured, after one round that is thrown away; 5 otherwise
  --tokens N       of each answer of the row streams; 64 otherwise
  --minutes N      of the row load; 5 otherwise
  --threads N      threads of both engines; all cores otherwise
  --alone          Hadal alone, without llama.cpp
  --out NAME       writes bench/results/server-NAME.json and docs/benchmarks-server.md; other rows stay in the file
  --page           only draws docs/benchmarks-server.md anew from bench/results

Memory is read from /proc, so Linux only.`;

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string' },
    rounds: { type: 'string' },
    tokens: { type: 'string' },
    minutes: { type: 'string' },
    threads: { type: 'string' },
    alone: { type: 'boolean' },
    out: { type: 'string' },
    page: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
if (flags.page) writePage(root);
else if (flags.help || positionals.length !== 1) console.log(USAGE);
else await bench(resolve(positionals[0]));

async function bench(model) {
  const threads = Number(flags.threads ?? availableParallelism());
  const rounds = Number(flags.rounds ?? 5);
  const names = flags.rows?.split(',') ?? ROWS.map(({ name }) => name);
  const unknown = names.find((name) => !ROWS.some((row) => row.name === name));
  if (unknown !== undefined) throw new Error(`--rows: there is no row ${unknown}\n\n${USAGE}`);
  const file = await openModelFile(model);
  const description = describeModel(file);
  await closeModelFile(file);
  const tokenizer = await openTokenizer(model);
  const probe = createMachineProbe({ threads });
  const cost = costOf(description);
  const shared = { vocab: description.config.vocabSize, tokenizer, probe, cost, rounds, progress };
  for (const { name, measure, config } of ROWS.filter((row) => names.includes(row.name))) {
    const { parallel, context_tokens: contextTokens } = config;
    const served = await serve({ ...config, threads, models: [{ source: model, name: 'bench', pin: true }] });
    const peer = name === 'streams' && !flags.alone ? await openPeer(model, threads) : undefined;
    const host =
      name === 'overhead'
        ? await startEngineHost({
            mainFile: engineMainFile(),
            modelPath: model,
            kind: 'process',
            threads,
            contextTokens,
            maxSequences: parallel,
          })
        : undefined;
    try {
      const minutes = Number(flags.minutes ?? 5);
      const tokens = Number(flags.tokens ?? 64);
      const sizes = { contextTokens, parallel, minutes, tokens };
      const result = await measure({ ...shared, ...sizes, served, peer: peer?.child, host });
      progress('');
      console.log(
        name,
        JSON.stringify(result, (_, value) => shown(value), 1),
      );
      if (flags.out !== undefined)
        keep(flags.out, model, { name, threads, peer: peer?.name, date: today(), ...result }, cost);
    } catch (error) {
      throw new Error(`${name}: ${error.message}\n${served.log}`, { cause: error });
    } finally {
      await host?.[Symbol.asyncDispose]();
      await peer?.child.close();
      await served.close();
    }
  }
}

async function openPeer(model, threads) {
  const peer =
    process.env.HADAL_TEST_PEER ||
    execFileSync(process.execPath, [join(root, 'scripts', 'peers.mjs')])
      .toString()
      .trim();
  const child = startChild(new URL('../engine/drive-llama-cpp.mjs', import.meta.url));
  const options = { peer, model, threads, contextTokens: 256, sequences: 16, cacheDType: 'F16' };
  const { about } = await child.ask('open', options);
  return { child, name: about.name };
}

/** Writes a row; those measured before stay. */
function keep(out, model, row, cost) {
  const folder = join(root, 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `server-${out}.json`);
  const earlier = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')).rows : [];
  const rows = [...earlier.filter(({ name }) => name !== row.name), row];
  const order = ROWS.map(({ name }) => name);
  const document = {
    model: { file: basename(model), bytes: statSync(model).size, ...cost.summary },
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      system: `${process.platform} ${arch()} ${release()}`,
      node: process.version,
    },
    rows: rows.toSorted((a, b) => order.indexOf(a.name) - order.indexOf(b.name)),
  };
  writeFileSync(path, `${JSON.stringify(document, undefined, 2)}\n`);
  writePage(root);
}

function today() {
  return new Date().toISOString().slice(0, 10);
}

function shown(value) {
  return typeof value === 'number' ? Number(value.toPrecision(4)) : value;
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
