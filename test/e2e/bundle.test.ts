/**
 * Owns: bundles that cannot be packed: nothing by the name of a bundle is there that is not whole, and nothing is left over.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { hadal, MAIN, scratchFolder, startHadal } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';

const HANG_MS = 120_000;
const codeOf = ({ code, out }: { code: number | null; out: string }) =>
  code === 0 ? 'packed' : (JSON.parse(out) as { error: { code: string } }).error.code;

test(
  'where no folder can be made is said at once, /proc too, by whose own answer Node would ask for ever',
  async () => {
    await using folder = await scratchFolder();
    writeFileSync(join(folder.path, 'file'), '');
    for (const place of ['/proc/x', '/proc/x/y', join(folder.path, 'file', 'x')])
      expect([place, codeOf(await hadal(['bundle', place, '--json']))]).toEqual([place, 'bundle-unwritable']);
    const model = join(folder.path, 'model');
    mkdirSync(model);
    writeFileSync(join(model, 'model.gguf'), 'GGUF');
    const inside = ['bundle', join(model, 'x'), '--model', model, '--json'];
    expect(codeOf(await hadal(inside))).toBe('bundle-collision');
    expect(readdirSync(folder.path).sort()).toEqual(['file', 'model']);
    expect(readdirSync(model)).toEqual(['model.gguf']);
  },
  HANG_MS,
);

test(
  'a folder with some shards of a model is refused before anything is packed',
  async () => {
    await using folder = await scratchFolder();
    const model = join(folder.path, 'model');
    mkdirSync(join(model, 'Q8_0'), { recursive: true });
    writeFileSync(join(model, 'Q8_0', 'm-00002-of-00002.gguf'), 'GGUF');
    const end = await hadal(['bundle', join(folder.path, 'b'), '--model', model, '--json']);
    expect(codeOf(end)).toBe('gguf-shards');
    expect(end.out).toContain(join(model, 'Q8_0', 'm-00001-of-00002.gguf'));
    expect(readdirSync(folder.path)).toEqual(['model']);
  },
  HANG_MS,
);

test(
  'what is left of a bundle that was killed is said, and nothing but a whole one has its name',
  async () => {
    await using folder = await scratchFolder();
    const [model, bundle] = [join(folder.path, 'huge.gguf'), join(folder.path, 'new', 'bundle')];
    writeFileSync(model, 'GGUF');
    // It takes no room here, and a while to be copied.
    truncateSync(model, 20e9);
    const begun = async () => {
      const running = startHadal(['bundle', bundle, '--model', model, '--json']);
      while (!existsSync(join(`${bundle}.part`, 'models', 'huge.gguf'))) await sleep(10);
      return running;
    };
    const interrupted = await begun();
    interrupted.child.kill('SIGINT');
    expect((await interrupted.finished).code).toBe(130);
    expect(readdirSync(join(folder.path, 'new'))).toEqual([]);

    const killed = await begun();
    killed.child.kill('SIGKILL');
    await killed.finished;
    expect(readdirSync(join(folder.path, 'new'))).toEqual(['bundle.part']);
    const again = await hadal(['bundle', bundle, '--model', model, '--json']);
    expect(codeOf(again)).toBe('bundle-exists');
    expect(again.out).toContain('bundle.part');
  },
  HANG_MS,
);

describeWith(['mounts'], 'a bundle on a disk that fills', () => {
  test(
    'is said, and gives its room back',
    async () => {
      await using folder = await scratchFolder();
      const model = join(folder.path, 'model.gguf');
      writeFileSync(model, 'GGUF');
      truncateSync(model, 200e6);
      const disk = join(folder.path, 'disk');
      mkdirSync(disk);
      const script = `mount -t tmpfs -o size=100m none "$0" || exit 9
        "$1" "$2" bundle "$0/b" --model "$3" --json
        ls -A "$0" | wc -l`;
      const inside = ['-rm', 'sh', '-c', script, disk, process.execPath, MAIN, model];
      const { stdout } = spawnSync('unshare', inside, { encoding: 'utf8' });
      const [document, left] = stdout.trim().split(/\n(?=\d+$)/);
      expect([JSON.parse(document!), left]).toMatchObject([{ error: { code: 'bundle-unwritable' } }, '0']);
      expect(document).toContain('ENOSPC');
    },
    HANG_MS,
  );
});

test.runIf(process.platform === 'linux')(
  'a model that cannot be read is named, and leaves nothing',
  async () => {
    await using folder = await scratchFolder();
    // A file by all that is known of it, until it is read.
    const model = '/proc/self/mem';
    const end = await hadal(['bundle', join(folder.path, 'b'), '--model', model, '--json']);
    expect(codeOf(end)).toBe('file-unreadable');
    expect(end.out).toContain(model);
    expect(readdirSync(folder.path)).toEqual([]);
  },
  HANG_MS,
);
