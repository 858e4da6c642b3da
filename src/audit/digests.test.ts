/**
 * Owns: digests of sources longer than what is read at once, against sha256sum's own implementation, and of parts of them.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openFile } from '../formats/byte-source.node.ts';
import { bytesSource } from '../formats/byte-source.ts';
import { digestOfSource } from './digests.ts';

function written(bytes: Uint8Array) {
  const folder = mkdtempSync(join(tmpdir(), 'hadal-digest-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'file');
  writeFileSync(path, bytes);
  return path;
}
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

test('pieces are digested in their order, whatever their number and the last one’s length', async () => {
  for (const length of [0, 1, 4 << 20, (4 << 20) + 1, (12 << 20) - 1, 12 << 20, (20 << 20) + 7]) {
    const bytes = randomBytes(length);
    const source = await openFile(written(bytes));
    let read = 0;
    const onRead = (more: number) => {
      read += more;
    };
    expect([length, await digestOfSource(source, { onRead })]).toEqual([length, sha256(bytes)]);
    expect(read).toBe(length);
    await source.close();
    expect(await digestOfSource(bytesSource(bytes, 'memory'))).toBe(sha256(bytes));
  }
}, 60_000);

test('a part alone, and a file that becomes shorter meanwhile', async () => {
  const bytes = randomBytes((9 << 20) + 3);
  const path = written(bytes);
  const source = await openFile(path);
  const range = { start: 5, end: (8 << 20) + 11 };
  expect(await digestOfSource(source, { range })).toBe(sha256(bytes.subarray(range.start, range.end)));
  truncateSync(path, 1000);
  await expect(digestOfSource(source)).rejects.toMatchObject({ code: 'file-shrank' });
  await source.close();
}, 60_000);
