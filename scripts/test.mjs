/**
 * Owns: `npm test`: install, build, vitest and cargo test, then what was skipped and why, then the counts.
 * Refuses to know: what the tests are about.
 *
 * `npm test -- src/chat` runs the vitest files of one path. With CI=true a skip that test/allowed-skips.json does not
 * list is a failure.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { install, ROOT, say, secondsSince } from './install.mjs';

const REPORT = join(ROOT, 'test/output/vitest.json');
const NEEDS = {
  weights: 'a fetched model (HADAL_TEST_MODEL)',
  peer: 'node-llama-cpp (HADAL_TEST_PEER)',
  python: 'Python 3 (HADAL_TEST_PYTHON)',
  browser: 'Chromium (HADAL_TEST_BROWSER)',
  native: 'the native addon, so cargo',
};

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}

async function main(paths) {
  install();
  const { build } = await import('./build.mjs');
  await build();
  const parts = [runVitest(paths)];
  if (paths.length === 0) parts.push(runCargo());
  const skips = parts.flatMap((part) => part.skips);
  tellSkips(skips);
  const unlisted = process.env.CI === 'true' ? unlistedSkips(skips) : [];
  for (const name of unlisted)
    say('skipped', `not in test/allowed-skips.json, so this is a failure: ${name}`);
  const sum = (field) => parts.reduce((total, part) => total + part[field], 0);
  const failed = sum('failed') + unlisted.length;
  process.stdout.write(
    `${sum('passed')} passed, ${failed} failed, ${skips.length - unlisted.length} skipped\n`,
  );
  return failed === 0 ? 0 : 1;
}

function runVitest(paths) {
  const startMs = performance.now();
  mkdirSync(join(ROOT, 'test/output'), { recursive: true });
  rmSync(REPORT, { force: true });
  say('vitest', 'units, contracts and golden files');
  const { status } = spawnSync(
    process.execPath,
    [
      join(ROOT, 'node_modules/vitest/vitest.mjs'),
      'run',
      '--reporter=dot',
      '--reporter=json',
      `--outputFile.json=${REPORT}`,
      ...paths,
    ],
    { cwd: ROOT, stdio: 'inherit' },
  );
  say('vitest', `done in ${secondsSince(startMs)}`);
  const { testResults } = JSON.parse(readFileSync(REPORT, 'utf8'));
  const tests = testResults.flatMap((file) => file.assertionResults);
  const named = (state) => tests.filter((test) => test.status === state);
  // A file that cannot be loaded has no tests to fail.
  const unloaded = testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = named('failed').length + unloaded;
  return {
    passed: named('passed').length,
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skips: tests
      .filter((test) => test.status !== 'passed' && test.status !== 'failed')
      .map((test) => test.fullName),
  };
}

function runCargo() {
  const startMs = performance.now();
  say('cargo', 'cargo test: the kernels');
  const { status, stdout, stderr, error } = spawnSync(
    'cargo',
    ['test', '--offline', '--quiet', '--', '--format=pretty'],
    {
      cwd: join(ROOT, 'native'),
      encoding: 'utf8',
      maxBuffer: 64 << 20,
    },
  );
  if (error !== undefined) return { passed: 0, failed: 0, skips: ['cargo test [needs native]'] };
  const count = (what) =>
    [...stdout.matchAll(new RegExp(`^test result:.* (\\d+) ${what};`, 'gm'))].reduce(
      (total, [, digits]) => total + Number(digits),
      0,
    );
  const failed = count('failed');
  if (status !== 0) process.stdout.write(`${stdout}${stderr}\n`);
  say('cargo', `done in ${secondsSince(startMs)}`);
  return {
    passed: count('passed'),
    failed: failed === 0 && status !== 0 ? 1 : failed,
    skips: [...stdout.matchAll(/^test (\S+) \.\.\. ignored/gm)].map(([, name]) => name),
  };
}

/** One line for each thing that tests had to do without. */
function tellSkips(skips) {
  const counts = new Map();
  for (const name of skips) {
    const [, needs] = /\[needs ([^\]]+)\]/.exec(name) ?? [];
    const reason =
      needs === undefined
        ? name
        : needs
            .split(', ')
            .map((need) => NEEDS[need] ?? need)
            .join(' and ');
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  for (const [reason, count] of counts) say('skipped', `${count} for want of ${reason}`);
}

function unlistedSkips(skips) {
  const allowed = JSON.parse(readFileSync(join(ROOT, 'test/allowed-skips.json'), 'utf8'));
  return skips.filter((name) => !allowed.some(({ test }) => name.includes(test)));
}
