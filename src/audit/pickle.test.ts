/**
 * Owns: the verdict on two corpora: files that run code when Python reads them, and files of weights.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { auditPath } from './audit.node.ts';

interface Kept {
  readonly name: string;
  readonly file: string;
  readonly class?: string;
  readonly fires?: boolean;
  readonly base64?: string;
  readonly deflate?: string;
}

const corpus = (name: string): Kept[] =>
  JSON.parse(readFileSync(new URL(`../../test/golden/audit/${name}.json`, import.meta.url), 'utf8')).files;
const bytesOf = ({ base64, deflate }: Kept) =>
  deflate === undefined ? Buffer.from(base64!, 'base64') : inflateSync(Buffer.from(deflate, 'base64'));

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'hadal-pickles-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function audit(kept: Kept, allowPickle: boolean) {
  const path = join(folder, kept.file);
  writeFileSync(path, bytesOf(kept));
  const { verdict, findings } = await auditPath(path, { allowPickle });
  return { verdict, said: findings.map(({ code, says }) => `${code}: ${says}`) };
}

const malicious = corpus('malicious');
const benign = ['benign', 'benign-numpy-1'].flatMap(corpus);

test('every malicious file is refused, whether pickles are judged or not', async () => {
  expect(malicious.length).toBeGreaterThan(250);
  expect(malicious.filter(({ fires }) => fires).length).toBeGreaterThan(50);
  const missed: string[] = [];
  for (const kept of malicious) {
    for (const judged of [false, true]) {
      const { verdict } = await audit(kept, judged);
      if (verdict !== 'refuse') missed.push(`${kept.name}${judged ? ', judged' : ''}: ${verdict}`);
    }
  }
  expect(missed).toEqual([]);
});

test('no file of weights is refused once it is judged', async () => {
  expect(benign.length).toBeGreaterThan(110);
  const accused: string[] = [];
  for (const kept of benign) {
    const { verdict, said } = await audit(kept, true);
    if (verdict !== 'load') accused.push(`${kept.name}: ${said.join('; ')}`);
  }
  expect(accused).toEqual([]);
});

test('pickles are refused as such unless asked for, with what to take instead', async () => {
  for (const kept of benign.filter(({ file }) => !/\.np[yz]$/.test(file))) {
    const { verdict, said } = await audit(kept, false);
    expect([kept.name, verdict]).toEqual([kept.name, 'refuse']);
    expect(said[0]).toMatch(/^pickle: .*safetensors/);
  }
});

test('refusals say what would have been imported', async () => {
  const named = malicious.find(({ name }) => name === 'name: pkgutil.resolve_name')!;
  expect((await audit(named, true)).said.join()).toContain('"pkgutil.resolve_name"');
});

test('what would only take memory is refused: lengths in the place of bytes', async () => {
  const terabyte = '\u008a\u0006\u0000\u0000\u0000\u0000\u0000\u0001';
  const call = (of: string, given: string) => `\u0080\u0002c${of}\n(${given}tR.`;
  const cases: [string, string][] = [
    [call('builtins\nbytearray', terabyte), 'refuse'],
    [call('__builtin__\nbytes', terabyte), 'refuse'],
    [call('numpy.core.multiarray\n_reconstruct', `cnumpy\nndarray\n${terabyte}\u0085C\u0001b`), 'refuse'],
    [call('builtins\nbytearray', ''), 'load'],
    [call('__builtin__\nbytes', ''), 'load'],
    [call('numpy.core.multiarray\n_reconstruct', 'cnumpy\nndarray\nK\u0000\u0085C\u0001b'), 'load'],
  ];
  for (const [text, expected] of cases) {
    const kept = { name: '', file: 'a.pkl', base64: Buffer.from(text, 'latin1').toString('base64') };
    const { verdict, said } = await audit(kept, true);
    expect([text, verdict, said]).toEqual([text, expected, said]);
  }
});
