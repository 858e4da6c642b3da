/**
 * Owns: `npm run bench:hub`: how fast a file comes from loopback by `hadal pull`, and by curl from the same server.
 * Refuses to know: how files are fetched.
 *
 * The server is a process of its own, and its file is in the page cache. Pulling checks the SHA-256 and waits until the disk
 * has the file, as `curl`, `sha256sum` and `sync` one after the other do; curl alone does neither. Where there are few
 * cores, what each of them takes of the processor bounds all: seconds for each GB are shown, the server's for curl's turns.
 */
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createReadStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { arch, cpus, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digits, table } from '../../dist/cli/figures.js';
import { spreadOf } from '../../dist/cli/measuring.js';

const USAGE = `usage: npm run bench:hub -- [flags]

  --megabytes N  size of the file; 1000 otherwise
  --folder DIR   where files go, /dev/shm to leave the disk out; the system's folder for temporary files otherwise
  --rounds N     how often each is measured, by turns; 7 otherwise
  --out NAME     writes bench/results/NAME.json; otherwise only the table is shown`;

/** Of /proc/PID/stat, a second. */
const TICKS = 100;
const WHO = {
  server: 'server of curl',
  curl: 'curl',
  checked: 'curl, sha256sum, sync',
  hadal: 'hadal pull',
};

const root = fileURLToPath(new URL('../..', import.meta.url));
const { values: flags } = parseArgs({
  options: {
    megabytes: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '7' },
    folder: { type: 'string', default: tmpdir() },
    out: { type: 'string' },
    help: { type: 'boolean' },
  },
});
if (flags.help) console.log(USAGE);
else await bench(Number(flags.megabytes) * 1e6, Number(flags.rounds), flags.folder);

async function bench(bytes, rounds, parent) {
  const folder = mkdtempSync(join(parent, 'hadal-bench-hub-'));
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
    const rates = { curl: [], checked: [], hadal: [] };
    const processor = { server: [], curl: [], checked: [], hadal: [] };
    const serverSeconds = () => {
      const [user, system] = readFileSync(`/proc/${server.pid}/stat`, 'utf8')
        .split(') ')[1]
        .split(' ')
        .slice(11, 13);
      return (Number(user) + Number(system)) / TICKS;
    };
    const measure = (who, command, args, env = {}) => {
      const { rate, seconds } = timed(bytes, command, args, env);
      rates[who].push(rate);
      processor[who].push((seconds * 1e9) / bytes);
    };
    const byCurl = join(folder, 'by-curl');
    for (let round = 0; round < rounds; round++) {
      const before = serverSeconds();
      measure('curl', 'curl', ['-s', '-o', byCurl, url]);
      processor.server.push(((serverSeconds() - before) * 1e9) / bytes);
      rmSync(byCurl);
      const checked = `curl -s -o ${byCurl} ${url} && sha256sum ${byCurl} && sync ${byCurl}`;
      measure('checked', 'sh', ['-c', checked]);
      rmSync(byCurl);
      const home = join(folder, 'home');
      const args = [join(root, 'dist/cli/main.js'), 'pull', `${url}#sha256=${sha256}`];
      measure('hadal', process.execPath, args, { HADAL_HOME: home });
      rmSync(home, { recursive: true });
    }
    const [curl, checked, hadal] = [rates.curl, rates.checked, rates.hadal].map(spreadOf);
    const ratioTo = (others) => spreadOf(rates.hadal.map((rate, i) => rate / others[i]));
    const [ratio, checkedRatio] = [ratioTo(rates.curl), ratioTo(rates.checked)];
    const row = (name, { median, min, max }) => [name, digits(median), `${digits(min)} to ${digits(max)}`];
    const rows = [
      ['', 'median', 'spread'],
      row('curl, MB/s', curl),
      row('curl, sha256sum, sync, MB/s', checked),
      row('hadal pull, MB/s', hadal),
      row('hadal / curl, at least 0.8', ratio),
      row('hadal / curl, sha256sum, sync', checkedRatio),
      ...Object.entries(processor).map(([who, all]) => row(`${WHO[who]}, processor s/GB`, spreadOf(all))),
    ];
    console.log(table(rows, [1, 2]));
    if (flags.out !== undefined) {
      const machine = `${cpus()[0]?.model}, ${cpus().length} threads, ${arch()}, Linux ${release()}`;
      const of = Object.fromEntries(Object.entries(processor).map(([who, all]) => [who, spreadOf(all)]));
      const measured = { curl, checked, hadal, ratio, checkedRatio, processorSecondsPerGb: of };
      const result = { date: new Date().toISOString(), machine, bytes, rounds, folder: parent, ...measured };
      mkdirSync(join(root, 'bench/results'), { recursive: true });
      writeFileSync(join(root, 'bench/results', `${flags.out}.json`), `${JSON.stringify(result, null, 2)}\n`);
    }
  } finally {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Megabytes a second of one command, its start included, and the seconds that the processor gave it. */
function timed(bytes, command, args, env) {
  const startMs = performance.now();
  const shell = ['-c', '"$@" >/dev/null || exit; times', 'sh', command, ...args];
  const text = execFileSync('sh', shell, {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
  });
  const rate = bytes / 1e3 / (performance.now() - startMs);
  // The last line is of what the shell ran: user and system.
  const parts = [
    ...text
      .trim()
      .split('\n')
      .at(-1)
      .matchAll(/(\d+)m([\d.]+)s/g),
  ];
  return {
    rate,
    seconds: parts.reduce((sum, [, minutes, seconds]) => sum + 60 * minutes + Number(seconds), 0),
  };
}

async function digestOf(file) {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  if (statSync(file).size === 0) throw new Error('an empty file has no rate');
  return hash.digest('hex');
}
