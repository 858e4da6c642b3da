/**
 * Owns: results that are kept: bench/results/NAME.json, with the day, the machine and node beside what was measured.
 * Refuses to know: what was measured.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Writes bench/results/NAME.json; what was there under that name is replaced.
 *
 * @example keepResults('width', { rows: [] })
 */
export function keepResults(name, measured) {
  const document = {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, arch: arch(), release: release() },
    ...measured,
  };
  const folder = fileURLToPath(new URL('results', import.meta.url));
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(document, null, 2)}\n`);
}
