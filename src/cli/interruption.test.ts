import { EventEmitter } from 'node:events';
import { expect, test } from 'vitest';
import { listen } from './interruption.ts';

function fakeProcess() {
  const exits: number[] = [];
  const fake = Object.assign(new EventEmitter(), { exit: (code: number) => exits.push(code) });
  const waiting = new EventEmitter();
  const interruption = listen(fake as unknown as NodeJS.Process, (heard) => waiting.on('signal', heard));
  return { fake, exits, waiting, interruption };
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

test('a signal that comes by itself and is handed on as well is one, in either order', () => {
  for (const order of [
    ['own', 'handed'],
    ['handed', 'own'],
  ]) {
    const { fake, exits, waiting } = fakeProcess();
    const come = (way: string | undefined) =>
      way === 'own' ? fake.emit('SIGTERM') : waiting.emit('signal', 'SIGTERM');
    for (const way of order) come(way);
    expect(exits).toEqual([]);
    come(order[0]);
    expect(exits).toEqual([143]);
    come(order[1]);
    expect(exits).toEqual([143]);
  }
});

test('signals that are only handed on count, each of its kind', () => {
  const { waiting, exits, interruption } = fakeProcess();
  waiting.emit('signal', 'SIGINT');
  expect(interruption.signal.reason).toMatchObject({ code: 'interrupted' });
  waiting.emit('signal', 'SIGINT');
  expect(exits).toEqual([130]);
});

test('whoever passes signals on does nothing else about them', () => {
  const { fake, exits, interruption } = fakeProcess();
  const passed: string[] = [];
  interruption.pass((signal) => passed.push(signal));
  const sent = ['SIGINT', 'SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of sent) fake.emit(signal);
  expect(passed).toEqual(sent);
  expect([interruption.signal.aborted, exits]).toEqual([false, []]);
});
