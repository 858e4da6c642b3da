/**
 * Owns: `npm run bench:hub`: how fast a file comes from loopback by `hadal pull`, and by curl from the same server.
 * Refuses to know: how files are fetched.
 *
 * The server is a process of its own, and its file is in the page cache. Pulling checks the SHA-256, curl checks nothing.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { arch, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digits, table } from '../../dist/cli/figures.js';
import { spreadOf } from '../../dist/cli/measuring.js';

const USAGE = `usage: npm run bench:hub -- [flags]

  --megabytes N  size of the file; 1000 otherwise
  --rounds N     how often each is measured, by turns; 7 otherwise
  --out NAME     writes bench/results/NAME.json; otherwise only the table is shown`;

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: flags } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '7' },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help) console.log(USAGE);
else await bench(Number(flags.megabytes) * 1e6, Number(flags.rounds));

async function bench(bytes, rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-bench-hub-'));
  const file = join(folder, 'model.gguf');
  const block = Buffer.from(Array.from({ length: 1 << 20 }, (_, i) => (i * 2654435761) >>> 24));
  for (let at = 0; at < bytes; at += block.length) {
    block.writeUInt32LE(at >>> 0, 0);
    writeFileSync(file, block.subarray(0, Math.min(block.length, bytes - at)), { flag: 'a' });
  }
  const sha256 = await digestOf(file);
  const server = spawn(process.execPath, [fileURLToPath(new URL('./files.mjs', import.meta.url)), file]);
  try {
    const port = await new Promise((resolve) => server.stdout.once('data', (text) => resolve(Number(text))));
    const url = `http://127.0.0.1:${port}/model.gguf`;
    const rates = { curl: [], hadal: [] };
    for (let round = 0; round < rounds; round++) {
      rates.curl.push(rateOf(bytes, 'curl', ['-s', '-o', join(folder, 'by-curl'), url], {}));
      rmSync(join(folder, 'by-curl'));
      const home = join(folder, 'home');
      const args = [join(root, 'dist/cli/main.js'), 'pull', `${url}#sha256=${sha256}`];
      rates.hadal.push(rateOf(bytes, process.execPath, args, { HADAL_HOME: home }));
      rmSync(home, { recursive: true });
    }
    const [curl, hadal] = [spreadOf(rates.curl), spreadOf(rates.hadal)];
    const ratio = spreadOf(rates.hadal.map((rate, i) => rate / rates.curl[i]));
    const row = (name, { median, min, max }) => [name, digits(median), `${digits(min)} to ${digits(max)}`];
    const rows = [
      ['', 'median', 'spread'],
      row('curl, MB/s', curl),
      row('hadal pull, MB/s', hadal),
      row('ratio, at least 0.8', ratio),
    ];
    console.log(table(rows, [1, 2]));
    if (flags.out !== undefined) {
      const machine = `${cpus()[0]?.model}, ${cpus().length} threads, ${arch()}, Linux ${release()}`;
      const result = { date: new Date().toISOString(), machine, bytes, rounds, curl, hadal, ratio };
      mkdirSync(join(root, 'bench/results'), { recursive: true });
      writeFileSync(join(root, 'bench/results', `${flags.out}.json`), `${JSON.stringify(result, null, 2)}\n`);
    }
  } finally {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Megabytes a second of one command, its start included. */
function rateOf(bytes, command, args, env) {
  const startMs = performance.now();
  execFileSync(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  return bytes / 1e3 / (performance.now() - startMs);
}

async function digestOf(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  if (statSync(file).size === 0) throw new Error('an empty file has no rate');
  return hash.digest('hex');
}
