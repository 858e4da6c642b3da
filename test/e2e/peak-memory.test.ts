/**
 * Owns: the bound that no reader needs more than 64 MB for a file below 1 MB: each hostile file of scripts/peak-memory.mjs is
 * read by a process of its own, whose resident memory the system measures at its highest.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../scripts/peak-memory.mjs', import.meta.url));
const MOST_BYTES = 64 << 20;
/** Ten times what a reader may take. */
const HANG_MS = 20_000;

interface Read {
  readonly outcome: string;
  readonly bytes: number;
  readonly peakBytes: number;
}

/** Garbage counts too, so little room is given to it. */
const run = (...names: string[]): unknown =>
  JSON.parse(
    execFileSync(process.execPath, ['--max-semi-space-size=2', script, ...names], {
      encoding: 'utf8',
      timeout: HANG_MS,
    }),
  );

test('no reader needs more than 64 MB for a hostile file below 1 MB', () => {
  const { names } = run() as { names: string[] };
  const { peakBytes: base } = run('nothing') as Read;
  const files = names.filter((name) => name !== 'nothing').map((name) => ({ name, ...(run(name) as Read) }));
  expect(files.length).toBeGreaterThan(30);
  for (const { name, peakBytes } of files) {
    expect([name, peakBytes - base], name).toEqual([name, expect.toSatisfy((over) => over <= MOST_BYTES)]);
  }
  // They are what their names say: some are read whole, and no reader stops at its first check.
  expect(new Set(files.map(({ outcome }) => outcome)).size).toBeGreaterThan(6);
  expect(files.filter(({ outcome }) => outcome === 'read').length).toBeGreaterThan(6);
  const large = files.filter(({ name }) => !/^template of|^corpus|unpacks/.test(name));
  expect(Math.min(...large.map(({ bytes }) => bytes))).toBeGreaterThan(600_000);
}, 300_000);

test('nor does a whole audit of such a file, as the command does it', () => {
  const { audited } = run() as { audited: string[] };
  const { peakBytes: base } = run('nothing', '--whole') as Read;
  expect(audited.length).toBeGreaterThan(20);
  for (const name of audited) {
    const { outcome, peakBytes } = run(name, '--whole') as Read;
    expect([name, peakBytes - base], name).toEqual([name, expect.toSatisfy((over) => over <= MOST_BYTES)]);
    expect(['load', 'look', 'refuse']).toContain(outcome);
  }
}, 300_000);
