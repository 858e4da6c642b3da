/**
 * Owns: every malformed model of the tables, opened from the disk: each refused for the right reason, in little memory.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { HadalError } from '../../src/error.ts';
import { openTokenizer } from '../../src/runtime/open.node.ts';
import { layDown } from '../fixtures/malformed.ts';
import { MALFORMED_GGUF } from '../fixtures/malformed-gguf.ts';
import { MALFORMED_SAFETENSORS } from '../fixtures/malformed-safetensors.ts';

const folder = mkdtempSync(join(tmpdir(), 'hadal-malformed-'));
afterAll(() => rmSync(folder, { recursive: true }));

const tables = { GGUF: MALFORMED_GGUF, safetensors: MALFORMED_SAFETENSORS };
const cases = Object.entries(tables).flatMap(([format, rows]) => rows.map((row) => ({ format, ...row })));
const paths = cases.map((row, i) => layDown(row, join(folder, String(i))));

test('the tables are as long as they are meant to be', () => {
  expect(MALFORMED_GGUF.length).toBeGreaterThanOrEqual(60);
  expect(MALFORMED_SAFETENSORS.length).toBeGreaterThanOrEqual(30);
  expect(new Set(cases.map(({ format, name }) => `${format} ${name}`)).size).toBe(cases.length);
});

describe('each is refused with its own code and one sentence that says what to do', () => {
  test.each(cases.map((row, i) => [row.format, row.name, row, i] as const))(
    '%s: %s',
    async (_f, _n, row, i) => {
      const error = await openTokenizer(paths[i]!).catch((caught: unknown) => caught);
      expect(error).toBeInstanceOf(HadalError);
      const { code, message } = error as HadalError;
      expect({ code, message }).toMatchObject({ code: row.code, message: expect.stringMatching(row.says) });
      expect(message).toMatch(/: expected .+, got .+; .+/);
      expect(message.length).toBeLessThan(1000);
    },
  );
});

test('each is refused in less than 64 MB', () => {
  const list = join(folder, 'paths.json');
  writeFileSync(list, JSON.stringify(paths));
  const child = `
    const { openTokenizer } = await import(${JSON.stringify(new URL('../../dist/runtime/open.node.js', import.meta.url))});
    const { readFileSync } = await import('node:fs');
    const paths = JSON.parse(readFileSync(${JSON.stringify(list)}));
    // Linux hands maxRSS on from the process that started this one; VmHWM is this one's own.
    const peakKb = () => process.platform === 'linux'
      ? Number(/VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1])
      : process.resourceUsage().maxRSS;
    const peakBytes = () => peakKb() * 1024;
    await openTokenizer(paths[0]).catch(() => {});
    const before = peakBytes();
    const worst = { grownBytes: 0, path: '' };
    for (const path of paths) {
      gc();
      const from = peakBytes();
      let refused = false;
      await openTokenizer(path).catch((error) => { refused = error.code !== undefined; });
      if (!refused) throw new Error(path + ' was opened');
      if (peakBytes() - from > worst.grownBytes) Object.assign(worst, { grownBytes: peakBytes() - from, path });
    }
    console.log(JSON.stringify({ grownBytes: peakBytes() - before, worst }));
  `;
  const out = execFileSync(process.execPath, ['--expose-gc', '--input-type=module', '-e', child], {
    encoding: 'utf8',
  });
  const { grownBytes } = JSON.parse(out);
  expect(grownBytes).toBeGreaterThan(0);
  expect(grownBytes, out).toBeLessThan(64e6);
});
