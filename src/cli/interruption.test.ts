import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { listen } from './interruption.ts';

function fakeProcess() {
  const exits: number[] = [];
  const fake = Object.assign(new EventEmitter(), { exit: (code: number) => exits.push(code) });
  return { fake, exits, interruption: listen(fake as unknown as NodeJS.Process) };
}

test('the first Ctrl-C asks, the second ends', () => {
  const { fake, exits, interruption } = fakeProcess();
  fake.emit('SIGINT');
  expect(interruption.signal.reason).toMatchObject({ code: 'interrupted' });
  expect(exits).toEqual([]);
  fake.emit('SIGINT');
  expect(exits).toEqual([130]);
});

test('SIGTERM asks with its own code', () => {
  const { fake, exits, interruption } = fakeProcess();
  fake.emit('SIGTERM');
  expect(interruption.signal.reason).toMatchObject({ code: 'terminated' });
  fake.emit('SIGTERM');
  expect(exits).toEqual([143]);
});

test('a capture takes Ctrl-C until it is released, the newest first', () => {
  const { fake, interruption } = fakeProcess();
  const heard: string[] = [];
  const releaseOuter = interruption.capture(() => heard.push('outer'));
  const releaseInner = interruption.capture(() => heard.push('inner'));
  fake.emit('SIGINT');
  releaseInner();
  fake.emit('SIGINT');
  expect(heard).toEqual(['inner', 'outer']);
  expect(interruption.signal.aborted).toBe(false);
  releaseOuter();
  fake.emit('SIGINT');
  expect(interruption.signal.aborted).toBe(true);
});
