import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type MachineLease, machineLease } from './lease.node.ts';

let last = 0;
const freshName = () => `hadal-test-${process.pid}-${++last}`;

function leaseOf(name: string, patienceMs?: number): MachineLease {
  const lease = machineLease(name, patienceMs);
  onTestFinished(() => lease.close());
  return lease;
}

describe.runIf(process.platform === 'linux')('the compute lease', () => {
  test('two engines never compute at once, and both come to their turns', async () => {
    const name = freshName();
    const order: string[] = [];
    let computing = 0;
    const engine = async (who: string) => {
      const lease = leaseOf(name);
      for (let step = 0; step < 8; step++) {
        await lease.take();
        expect(++computing).toBe(1);
        order.push(who);
        await sleep(2);
        computing--;
        lease.pause();
        await sleep(0);
      }
      lease.close();
    };
    await Promise.all([engine('a'), engine('b')]);
    const changes = order.filter((who, i) => i > 0 && who !== order[i - 1]).length;
    expect(order.length).toBe(16);
    expect(changes).toBeGreaterThanOrEqual(3);
  });

  test('an engine that stopped computing gives way at once', async () => {
    const name = freshName();
    const idle = leaseOf(name);
    await idle.take();
    idle.pause();
    await leaseOf(name).take();
  });

  test('a killed process gives it back', async () => {
    const name = freshName();
    const script = `require('net').createServer().listen(${JSON.stringify(`\0${name}`)}, () => console.log('held'))`;
    const child = spawn(process.execPath, ['-e', script]);
    await once(child.stdout, 'data');
    const taken = leaseOf(name).take();
    child.kill('SIGKILL');
    await taken;
  });

  test('whoever holds it for ever is not waited for', async () => {
    const name = freshName();
    await leaseOf(name).take();
    await leaseOf(name, 20).take();
  });
});
