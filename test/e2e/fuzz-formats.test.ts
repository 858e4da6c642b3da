/**
 * Owns: a slice of the format fuzzer (scripts/fuzz-formats.mjs) in every test run.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/fuzz-formats.mjs', import.meta.url));

test('five thousand mutated files are read or refused with a HadalError, none hangs, nothing stays', () => {
  const out = execFileSync(process.execPath, [script, '--json', '--runs', '5000', '--seed', '2'], {
    encoding: 'utf8',
    timeout: 600_000,
  });
  const { runs, outcomes } = JSON.parse(out) as { runs: number; outcomes: Record<string, number> };
  expect(runs).toBe(5000);
  // It did reach behind the first check of every reader.
  for (const code of [
    'read',
    'gguf-lies',
    'safetensors-lies',
    'safetensors-index',
    'config-missing',
    'tokenizer-field',
  ]) {
    expect(outcomes[code], code).toBeGreaterThan(20);
  }
}, 130_000);
