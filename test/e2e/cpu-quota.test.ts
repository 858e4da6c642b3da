/**
 * Owns: that a share of the processor's time counts as so many cores, in a control group of the test's own.
 * Refuses to know: how the share is found out.
 */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { needsNative, VARIANTS } from '../contract/backends.ts';
import { hadal } from '../fixtures/command.ts';

/** A group that may use one core's time, in the first or the second version; undefined where none can be made. */
function oneCoreGroup(): string | undefined {
  const groups = [
    { path: '/sys/fs/cgroup/cpu', quota: { 'cpu.cfs_period_us': '100000', 'cpu.cfs_quota_us': '100000' } },
    { path: '/sys/fs/cgroup', quota: { 'cpu.max': '100000 100000' } },
  ];
  for (const { path, quota } of groups) {
    const group = join(path, `hadal-test-${process.pid}`);
    try {
      mkdirSync(group);
    } catch {
      continue;
    }
    try {
      for (const [name, value] of Object.entries(quota))
        writeFileSync(join(group, name), value, { flag: 'r+' });
      return group;
    } catch {
      rmdirSync(group);
    }
  }
  return undefined;
}

const group = availableParallelism() > 1 ? oneCoreGroup() : undefined;
afterAll(() => {
  if (group !== undefined) rmdirSync(group);
});

test.skipIf(group === undefined || VARIANTS.length === 0)(
  needsNative('plan counts the cores that a container grants, not those of the machine'),
  async () => {
    const under = ['sh', '-c', 'echo $$ > "$0/cgroup.procs"; exec "$@"', group!];
    const { out } = await hadal(['plan', 'deepseek-coder-1.3b-instruct', '--json'], { under });
    expect(JSON.parse(out).machine.cpu.cores).toBe(1);
    const free = await hadal(['plan', 'deepseek-coder-1.3b-instruct', '--json']);
    expect(JSON.parse(free.out).machine.cpu.cores).toBeGreaterThan(1);
  },
);
