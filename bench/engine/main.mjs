/**
 * Owns: `npm run bench:engine`: Hadal and its peers on the same file, by turns, with the machine's limits beside them.
 * Refuses to know: how an engine is driven, what a row measures, how results are drawn.
 *
 * Engines take turns (A B A B) in every row, with the same threads, prompts and cache format, because the memory of a
 * machine that is shared gives twice as much in one minute as in the next; so what is compared is measured within
 * seconds, and the rate at which memory is read is measured beside every run.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { arch, availableParallelism, cpus, release, totalmem } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createMachineProbe } from '../../dist/backend/native/probe.node.js';
import { spreadOf } from '../../dist/cli/measuring.js';
import { closeModelFile, openModelFile } from '../../dist/formats/open.node.js';
import { describeModel } from '../../dist/model/load.js';
import { startChild } from './child.mjs';
import { costOf, shareOf } from './limits.mjs';
import { writePage } from './page.mjs';
import { ROWS, rowsNamed } from './rows.mjs';
import { textTable } from './text-table.mjs';

const USAGE = `usage: npm run bench:engine -- MODEL.gguf [flags]

  --rows LIST      names with commas between; prefill* stands for all that begin so; all rows otherwise
  --rounds N       how often each is measured, after one round that is thrown away; 7 otherwise
  --threads N      threads of both engines; all cores otherwise
  --cache FORMAT   F16 (otherwise), Q8_0 or F32
  --alone          Hadal alone, without llama.cpp
  --ik FOLDER      also ik_llama.cpp, out of the folder with its llama-bench, with and without -rtr; it has no rows
                   of many answers and of loading
  --ik-modes LIST  plain, rtr or both with a comma between (otherwise); -rtr holds a second copy of the weights
  --out NAME       writes bench/results/NAME.json and docs/benchmarks.md; rows measured earlier stay in the file
  --page           only draws docs/benchmarks.md anew from bench/results

A quick look, about a minute: --rows decode,prefill-512 --rounds 3`;

const root = fileURLToPath(new URL('../..', import.meta.url));
const MAX_BATCH = 16;
const SETTLE_MS = 250;
const ROOM_TOKENS = 64;
const IK_MODES = { plain: { name: 'ik', repack: false }, rtr: { name: 'ik -rtr', repack: true } };

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: 'string' },
    rounds: { type: 'string' },
    threads: { type: 'string' },
    cache: { type: 'string' },
    alone: { type: 'boolean' },
    ik: { type: 'string' },
    'ik-modes': { type: 'string' },
    out: { type: 'string' },
    page: { type: 'boolean' },
    help: { type: 'boolean' },
  },
});
if (flags.page) writePage(root);
else if (flags.help || positionals.length !== 1) console.log(USAGE);
else await bench(resolve(positionals[0])).catch(refuse);

/** A flag that is wrong is told in its own sentence; anything else is a fault of ours. */
function refuse(error) {
  if (!error.message.startsWith('--')) throw error;
  console.error(`bench:engine: ${error.message}; --help says what there is`);
  process.exit(2);
}

async function bench(model) {
  const rounds = Number(flags.rounds ?? 7);
  const threads = Number(flags.threads ?? availableParallelism());
  const rows = rowsNamed(flags.rows);
  const cacheDType = flags.cache ?? 'F16';
  const probe = createMachineProbe({ threads });
  const engines = enginesWanted();
  const file = await openModelFile(model);
  const cost = costOf(describeModel(file));
  await closeModelFile(file);
  const about = {};
  const open = async (name, { contextTokens, sequences }) => {
    const { drive, extra } = engines[name];
    const child = startChild(new URL(drive, import.meta.url));
    const options = { ...extra, model, threads, contextTokens, sequences, cacheDType };
    const { ms, about: said } = await child.ask('open', options);
    about[name] = said;
    return { child, openMs: ms };
  };

  const multiplyRates = Array.from({ length: 7 }, () => probe.multiplyRate());
  const results = [];
  const build = await buildDigest();
  const document = () => ({
    date: new Date().toISOString().slice(0, 10),
    build,
    model: { file: basename(model), bytes: statSync(model).size, ...cost.summary },
    machine: machineOf(probe),
    limits: { multiplyRate: spreadOf(multiplyRates) },
    options: { rounds, threads, cacheDType },
    engines: about,
    rows: results,
  });
  for (const session of ['single', 'batch', 'fresh']) {
    const here = rows.filter((row) => row.session === session);
    if (here.length === 0) continue;
    const sizes = sizesOf(session, here);
    const opened = {};
    const namesOf = (rows) =>
      Object.keys(engines).filter((name) => rows.some((row) => engines[name].measures?.(row) ?? true));
    if (session !== 'fresh') for (const name of namesOf(here)) opened[name] = await open(name, sizes);
    for (const row of here) {
      const names = namesOf([row]);
      const runs = Object.fromEntries(names.map((name) => [name, []]));
      for (let round = 0; round <= rounds; round++) {
        for (const name of names) {
          progress(`${row.title}: round ${round} of ${rounds}, ${name}`);
          if (row.cold) dropFromCache(model);
          // Threads that waited for more work by spinning, as those of llama.cpp do after a turn, are asleep then.
          await sleep(SETTLE_MS);
          const readRate = spreadOf([probe.readRate(), probe.readRate(), probe.readRate()]).median;
          const { child, openMs } = opened[name] ?? (await open(name, sizes));
          const value = await row.measure(child, { openMs });
          if (session === 'fresh') await child.close();
          if (round > 0 || session === 'fresh') runs[name].push({ value, readRate });
        }
        if (session === 'fresh' && round === rounds - 1) break;
      }
      results.push(resultOf(row, runs, cost, spreadOf(multiplyRates).median));
      if (flags.out !== undefined) keep(document());
      progress('');
      console.log(textTable([results.at(-1)]));
    }
    for (const { child } of Object.values(opened)) await child.close();
  }
  console.log(`\n${basename(model)}, ${threads} threads, ${cpus()[0]?.model.trim()}\n${textTable(results)}`);
}

/** Writes what there is, after every row: a run that is cut short has measured what it has measured. */
function keep(document) {
  const folder = join(root, 'bench', 'results');
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${flags.out}.json`);
  writeFileSync(path, `${JSON.stringify(withEarlierRows(document, path), undefined, 2)}\n`);
  writePage(root);
}

/**
 * The document with rows of the same file on the same machine that were measured before and not again; and when, where
 * that was with another build of Hadal.
 */
function withEarlierRows(document, path) {
  if (!existsSync(path)) return document;
  const earlier = JSON.parse(readFileSync(path, 'utf8'));
  const same = (of) =>
    JSON.stringify([of.model.file, of.model.bytes, of.machine.cpu, { ...of.options, rounds: 0 }]);
  if (same(earlier) !== same(document)) return document;
  const again = (name) => document.rows.some((row) => row.name === name);
  const kept = earlier.rows.filter(({ name }) => !again(name));
  const dated = (row) =>
    earlier.build === document.build ? row : { ...row, earlier: row.earlier ?? earlier.date };
  const all = [...document.rows, ...kept.map(dated)];
  const order = ROWS.map(({ name }) => name);
  return {
    ...document,
    engines: { ...earlier.engines, ...document.engines },
    rows: all.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name)),
  };
}

/** Which build of Hadal is measured: a digest of its addon and of the JavaScript around it. */
async function buildDigest() {
  const digest = createHash('sha256');
  const files = await readdir(join(root, 'dist'), { recursive: true });
  for (const file of files.filter((name) => /\.(js|node)$/.test(name)).sort()) {
    digest.update(file).update(await readFile(join(root, 'dist', file)));
  }
  return digest.digest('hex').slice(0, 12);
}

/** Which engines, how each is started, which rows it has, if not all. Hadal comes first: others are compared with it. */
function enginesWanted() {
  const engines = { hadal: { drive: './drive-hadal.mjs', extra: {} } };
  if (!flags.alone) {
    const peer =
      process.env.HADAL_TEST_PEER ||
      execFileSync(process.execPath, [join(root, 'scripts', 'peers.mjs')])
        .toString()
        .trim();
    engines['llama.cpp'] = { drive: './drive-llama-cpp.mjs', extra: { peer } };
  }
  if (flags.ik !== undefined) {
    if (!existsSync(join(flags.ik, 'llama-bench')))
      throw new Error(`--ik: expected a folder with llama-bench, got ${flags.ik}`);
    const measures = ({ session, name }) => session === 'single' || name === 'memory';
    for (const mode of (flags['ik-modes'] ?? Object.keys(IK_MODES).join()).split(',')) {
      if (!(mode in IK_MODES)) throw new Error(`--ik-modes: expected plain or rtr, got ${mode}`);
      const { name, repack } = IK_MODES[mode];
      engines[name] = { drive: './drive-ik.mjs', extra: { folder: resolve(flags.ik), repack }, measures };
    }
  }
  return engines;
}

function sizesOf(session, rows) {
  const longest = Math.max(...rows.map(({ tokens = 0, depth = 0 }) => Math.max(tokens, depth)), 512);
  if (session === 'batch') return { contextTokens: 4 * ROOM_TOKENS, sequences: MAX_BATCH };
  return { contextTokens: longest + 2 * ROOM_TOKENS, sequences: 1 };
}

function resultOf(row, runs, cost, multiplyRate) {
  const engines = {};
  for (const [name, list] of Object.entries(runs)) {
    const values = list.map(({ value }) => value);
    const shares = list.map((run) => shareOf(row, run, cost, multiplyRate));
    engines[name] = {
      values: spreadOf(values),
      readRate: spreadOf(list.map(({ readRate }) => readRate)),
      ...(row.bound ? { share: spreadOf(shares) } : {}),
    };
    if (name === 'hadal') continue;
    // Of runs beside each other; above 1 Hadal is better.
    const ratios = list.map(({ value }, i) =>
      row.lessIsBetter ? value / runs.hadal[i].value : runs.hadal[i].value / value,
    );
    engines[name].ratio = spreadOf(ratios);
  }
  const { name, title, unit, bound, lessIsBetter = false } = row;
  return { name, title, unit, bound, lessIsBetter, rounds: runs.hadal.length, engines };
}

/** Asks the system to forget what it has of a file; what another process has mapped stays. */
function dropFromCache(path) {
  const { status } = spawnSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0', 'status=none']);
  if (status !== 0) throw new Error('the row load-cold needs GNU dd: leave it out with --rows');
}

function machineOf({ isa, threads }) {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryBytes: totalmem(),
    system: `${process.platform} ${arch()} ${release()}`,
    node: process.version,
    isa,
    threads,
    hadal: JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version,
  };
}

function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}
