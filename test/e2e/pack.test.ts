/**
 * Owns: the packed package, installed in an empty folder, answering with the real model.
 * Refuses to know: how tarballs are made, what an answer says beyond the word it is about.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeWith, testModelPath } from '../fixtures/needs.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HANG_MS = 600_000;

describeWith(['weights'], 'the packed package in an empty folder', () => {
  let folder: string;
  let tarballs: { readonly hadal: string; readonly native?: string };

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'hadal-pack-'));
    const packed = execFileSync(process.execPath, [join(ROOT, 'scripts/pack.mjs'), folder], {
      encoding: 'utf8',
    });
    tarballs = JSON.parse(packed.trim().split('\n').at(-1)!);
  }, HANG_MS);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** PATH without the folders that hold cargo. */
  const withoutCargo = (process.env.PATH ?? '')
    .split(delimiter)
    .filter((place) => !existsSync(join(place, 'cargo')))
    .join(delimiter);

  function installed(name: string, words: readonly string[], path: string) {
    const home = join(folder, name);
    mkdirSync(home);
    writeFileSync(join(home, 'package.json'), '{ "private": true }\n');
    const { HADAL_BACKEND: _backend, HADAL_NATIVE: _native, ...env } = process.env;
    const run = (command: string, args: readonly string[]) =>
      spawnSync(command, args, { cwd: home, encoding: 'utf8', env: { ...env, PATH: path, NO_COLOR: '1' } });
    const install = ['install', '--no-audit', '--no-fund', '--strict-allow-scripts', ...words];
    const { status, stderr } = run('npm', install);
    expect(stderr.replace(/^npm warn .*$/gm, '').trim()).toBe('');
    expect(status).toBe(0);
    return (...args: string[]) => run('npx', ['--no-install', 'hadal', ...args]);
  }

  // A question whose best answer is clear of rounding: every backend and instruction set starts it alike.
  const question = ['run', testModelPath()!, 'What is gravity?', '-n', '12', '--temperature', '0'];

  test.each([
    ['with cargo', () => process.env.PATH ?? ''],
    ['without cargo', () => withoutCargo],
  ])(
    '%s: the addon of the platform package computes',
    (name, path) => {
      const hadal = installed(name.replace(' ', '-'), [tarballs.hadal, tarballs.native!], path());
      const { stdout, stderr, status } = hadal(...question);
      expect(stderr).not.toMatch(/reference/);
      expect(stdout).toMatch(/gravity/i);
      expect(status).toBe(0);
      expect(JSON.parse(hadal('version', '--json').stdout)).toMatchObject({ backend: { name: 'native' } });
    },
    HANG_MS,
  );

  test(
    'without the platform package: one warning, and the reference backend answers',
    () => {
      const hadal = installed('alone', ['--omit=optional', tarballs.hadal], withoutCargo);
      const { stdout, stderr, status } = hadal(...question);
      expect(stderr.match(/reference backend/g)).toHaveLength(1);
      expect(stdout).toMatch(/gravity/i);
      expect(status).toBe(0);
    },
    HANG_MS,
  );
});
