/**
 * Owns: a slice of the fuzzer of what an audit reads (scripts/fuzz-audit.mjs) in every test run.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/fuzz-audit.mjs', import.meta.url));

test('two thousand changed pickles, archives, templates and signatures are read or refused, within bounds', () => {
  const out = execFileSync(process.execPath, [script, '--json', '--runs', '2000', '--seed', '2'], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  const { runs, outcomes } = JSON.parse(out) as { runs: number; outcomes: Record<string, number> };
  expect(runs).toBe(2000);
  // It did reach behind the first check of every reader.
  for (const code of [
    'read',
    'pickle-name',
    'pickle-opcode',
    'pickle-broken',
    'zip-broken',
    'numpy-broken',
  ]) {
    expect(outcomes[code], code).toBeGreaterThan(5);
  }
}, 130_000);
