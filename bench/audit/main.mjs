/**
 * Owns: how long `hadal audit` takes for a large file, beside what reads or digests the same file by other means.
 * Refuses to know: how anything is judged.
 *
 * Writes a GGUF file on a disk, whose pages are dropped before every run (`dd iflag=nocache`): hadal audit, cat and
 * sha256sum take turns. Without a quiet machine the spread says more than the median.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { digits, table } from '../../dist/cli/figures.js';
import { spreadOf } from '../../dist/cli/measuring.js';
import { layOutGguf } from '../../dist/formats/gguf/write.js';
import { keepResults } from '../kept.mjs';

const USAGE = `usage: node bench/audit/main.mjs [flags], after a build

  --gb N        gigabytes of the file; 10 otherwise
  --rounds N    how often each is measured, by turns; 3 otherwise
  --folder DIR  on whose disk; the system's folder for temporary files otherwise
  --out NAME    writes bench/results/NAME.json; otherwise only the table is shown`;

const { values: flags } = parseArgs({
  options: {
    help: { type: 'boolean' },
    gb: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    folder: { type: 'string', default: tmpdir() },
    out: { type: 'string' },
  },
});
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const TENSOR_BYTES = 100e6;

if (flags.help) {
  console.log(USAGE);
  process.exit();
}
const folder = mkdtempSync(join(flags.folder, 'hadal-bench-'));
try {
  const path = join(folder, 'model.gguf');
  const bytes = write(path, Math.round((Number(flags.gb) * 1e9) / TENSOR_BYTES));
  const ways = {
    'hadal audit': [process.execPath, [MAIN, 'audit', path]],
    cat: ['cat', [path]],
    sha256sum: ['sha256sum', [path]],
  };
  const seconds = Object.fromEntries(Object.keys(ways).map((name) => [name, []]));
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const [name, [command, args]] of Object.entries(ways)) {
      execFileSync('dd', [`if=${path}`, 'iflag=nocache', 'count=0'], { stdio: 'ignore' });
      const startMs = performance.now();
      const { status } = spawnSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
      // A file without a vocabulary or an architecture that runs is still one to be loaded.
      if (status !== 0) throw new Error(`${name} ended with ${status}`);
      seconds[name].push((performance.now() - startMs) / 1000);
    }
  }
  const rows = Object.entries(seconds).map(([name, times]) => ({ name, seconds: spreadOf(times) }));
  const shown = rows.map(({ name, seconds: { median, min, max } }) => [
    name,
    `${digits(median)} (${digits(min)} to ${digits(max)})`,
    `${digits(bytes / median / 1e9)}`,
  ]);
  console.log(table([[`${(bytes / 1e9).toFixed(1)} GB`, 's, median (lowest to highest)', 'GB/s'], ...shown]));
  if (flags.out !== undefined) keepResults(flags.out, { bytes, rounds: Number(flags.rounds), rows });
} finally {
  rmSync(folder, { recursive: true });
}

/** A GGUF file of so many tensors that a disk cannot make shorter; its size. */
function write(path, count) {
  const rows = TENSOR_BYTES / 4 / 1000;
  const tensors = Array.from({ length: count }, (_, i) => ({
    name: `blk.${i}.ffn_up.weight`,
    dtype: 'F32',
    shape: [1000, rows],
  }));
  const { header, totalBytes } = layOutGguf({ metadata: [['general.architecture', 'llama']], tensors });
  const piece = Buffer.alloc(16 << 20);
  randomFillSync(piece);
  const file = openSync(path, 'wx');
  try {
    writeSync(file, header);
    for (let at = header.length; at < totalBytes; )
      at += writeSync(file, piece, 0, Math.min(piece.length, totalBytes - at));
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  return totalBytes;
}
