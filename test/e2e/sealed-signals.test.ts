/**
 * Owns: signals where nothing may go out: the process that a person or a service manager knows only waits for the one in the
 * network namespace, and must hand everything on to it, once, and end as it does.
 */
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Running, scratchFolder, startHadal } from '../fixtures/command.ts';
import { describeWith } from '../fixtures/needs.ts';
import { NO_END, toyLlama } from '../fixtures/toy-model.ts';

const HANG_MS = 120_000;
let folder: Awaited<ReturnType<typeof scratchFolder>>;
/** Answers for minutes. */
let endless = '';
beforeAll(async () => {
  folder = await scratchFolder();
  endless = join(folder.path, 'endless.gguf');
  await writeFile(endless, toyLlama({ contextTokens: 1_000_000 }));
});
afterAll(() => folder[Symbol.asyncDispose]());

/** The one process that another has started. */
const childOf = (pid: number | undefined) => {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  expect(children).toMatch(/^\d+$/);
  return Number(children);
};
const isGone = (pid: number) => {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
};

/** Serves the toy in a group of its own, and begins an answer. */
async function streaming(maxTokens: number) {
  const running = startHadal(['serve', endless, '--offline', '--port', '0', '--json'], {
    under: ['setsid'],
    env: { XDG_CONFIG_HOME: folder.path },
  });
  await running.shows('}');
  const { url } = JSON.parse(running.out()) as { url: string };
  const asked = { model: 'endless', prompt: 'hello', max_tokens: maxTokens, stream: true };
  const body = JSON.stringify({ ...asked, logit_bias: NO_END });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body });
  const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
  await reader.read();
  return { running, url, reader };
}

async function rest(reader: ReadableStreamDefaultReader<string>): Promise<string> {
  let text = '';
  for (let step = await reader.read(); !step.done; step = await reader.read()) text += step.value;
  return text;
}

const closed = (url: string) =>
  expect
    .poll(
      () =>
        fetch(url).then(
          () => 'open',
          () => 'closed',
        ),
      { timeout: HANG_MS },
    )
    .toBe('closed');
const toGroup = ({ child }: Running, signal: NodeJS.Signals) => process.kill(-child.pid!, signal);

describeWith(['namespace'], 'signals to a sealed run', () => {
  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)(
    '%s to the one that waits ends both, with exit code %d',
    async (signal, code) => {
      const running = startHadal(['run', endless, 'hello', '-t', '0', '--offline']);
      await running.shows(/[ -~]{3}/);
      const sealed = childOf(running.child.pid);
      running.child.kill(signal);
      const end = await running.finished;
      expect([end.code, end.signal]).toEqual([code, null]);
      expect(isGone(sealed)).toBe(true);
    },
    HANG_MS,
  );

  test(
    'a signal to all processes at once is one: what runs comes to its end; a second does not wait',
    async () => {
      const { running, reader } = await streaming(300);
      toGroup(running, 'SIGTERM');
      expect(await rest(reader)).toMatch(/"finish_reason":"length".*\[DONE\]/s);
      expect((await running.finished).code).toBe(0);

      const other = await streaming(100_000);
      toGroup(other.running, 'SIGTERM');
      await closed(other.url);
      toGroup(other.running, 'SIGTERM');
      expect((await other.running.finished).code).toBe(143);
    },
    HANG_MS,
  );

  test(
    'without the one that waits the other comes to its end too',
    async () => {
      const { running, url, reader } = await streaming(300);
      const sealed = childOf(running.child.pid);
      running.child.kill('SIGKILL');
      expect(await rest(reader)).toContain('"finish_reason":"length"');
      await closed(url);
      await expect.poll(() => isGone(sealed), { timeout: HANG_MS }).toBe(true);
    },
    HANG_MS,
  );
});
