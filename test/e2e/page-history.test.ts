/** Owns: a history of 100,000 tokens in the page: what is in the document, and the times of its frames. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keepShot, startBrowser, type TestBrowser } from '../fixtures/browser.ts';
import { describeWith } from '../fixtures/needs.ts';
import { answered, answers, type PacedServer, say, startPacedServer } from '../fixtures/page.ts';

/** About 500 tokens: a table, code, a formula, a list, prose. */
const PART = [
  '### Part',
  `${'Sediment drifts down for months before it comes to rest on the floor of the trench. '.repeat(19)}`,
  '| depth | pressure |\n|---:|---:|\n| 6,000 m | 600 bar |\n| 11,000 m | 1,100 bar |',
  '```ts\nconst pressure = (metres: number): number => metres / 10;\nconsole.log(pressure(10_935));\n```',
  'With $p = \\rho g h$ that is $\\rho \\approx 1025$ and *nearly* constant.',
  '- amphipods\n- snailfish\n- foraminifera, **many** of them\n',
].join('\n\n');
const ANSWER = `${PART}\n\n${PART}`;

/** Frame times in milliseconds while something happens. */
interface Frames {
  readonly count: number;
  readonly median: number;
  readonly p95: number;
  readonly worst: number;
}

describeWith(['browser'], 'the page with 100,000 tokens', () => {
  let server: PacedServer;
  let browser: TestBrowser;
  let page: Page;
  const report: Record<string, Frames> = {};
  beforeAll(async () => {
    server = await startPacedServer(ANSWER, 200);
    browser = await startBrowser({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
    page = await browser.page();
    await page.goto(server.url);
    await page.getByText('What shall we look into?').waitFor();
    await page.evaluate(seed(200, PART));
    await page.reload();
    await answers(page).last().waitFor();
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  const measured = async (name: string, work: () => Promise<void>) => {
    await page.evaluate(START_FRAMES);
    await work();
    const times = await page.evaluate<number[]>('globalThis.frames_.splice(0).slice(1)');
    const sorted = times.toSorted((a, b) => a - b);
    const at = (share: number) => Math.round(sorted[Math.floor((sorted.length - 1) * share)]! * 10) / 10;
    report[name] = { count: times.length, median: at(0.5), p95: at(0.95), worst: at(1) };
  };
  const elements = () => page.evaluate<number>('document.querySelectorAll("*").length');

  test('is opened at its end, with only what is near the window in the document', async () => {
    expect(await page.evaluate<number>('document.querySelectorAll(".turns > .lazy").length')).toBe(400);
    expect(await elements()).toBeLessThan(3000);
    expect(await page.evaluate<boolean>(AT_END)).toBe(true);
  });

  test('is scrolled through', async () => {
    await measured('scrolling', async () => {
      for (let i = 0; i < 60; i++) {
        await page.mouse.move(640, 400);
        await page.mouse.wheel(0, -600);
        await page.waitForTimeout(16);
      }
    });
    expect(await elements()).toBeLessThan(3000);
    expect(await page.evaluate<boolean>(AT_END)).toBe(false);
    await keepShot(page, 'long-history-dark');
    await page.getByRole('button', { name: 'To the end' }).click();
    await expect.poll(() => page.evaluate<boolean>(AT_END)).toBe(true);
  });

  test('an answer grows at its end, which stays in sight', async () => {
    await measured('an answer of 200 tokens/s', async () => {
      await say(page, 'And then?');
      await page.getByRole('button', { name: 'Stop' }).waitFor();
      await answered(page);
    });
    expect(await answers(page).last().getByText('foraminifera').count()).toBeGreaterThan(0);
    expect(await page.evaluate<boolean>(AT_END)).toBe(true);
    expect(await elements()).toBeLessThan(3000);
  });

  test('asking from further up goes to the end', async () => {
    await page.mouse.move(640, 400);
    await page.mouse.wheel(0, -3000);
    await expect.poll(() => page.evaluate<boolean>(AT_END)).toBe(false);
    await say(page, 'And before?');
    await expect.poll(() => page.evaluate<boolean>(AT_END)).toBe(true);
    await answered(page);
    // The last words of an answer are laid out in the frame after it has ended.
    await expect.poll(() => page.evaluate<boolean>(AT_END)).toBe(true);
  });

  test('reports its frame times', async () => {
    const path = join(import.meta.dirname, '../output/page/frames.json');
    await writeFile(path, `${JSON.stringify(report, undefined, 2)}\n`);
    process.stderr.write(`frames of a history of 100,000 tokens, in ms: ${JSON.stringify(report)}\n`);
    expect(Object.values(report).every(({ count }) => count > 20)).toBe(true);
    expect(browser.complaints).toEqual([]);
  });
});

const AT_END =
  '(() => { const b = document.querySelector(".thread"); return b.scrollHeight - b.scrollTop - b.clientHeight < 4; })()';

const START_FRAMES = `(() => {
  globalThis.frames_ = [];
  let last;
  const frame = (ms) => {
    if (last !== undefined) globalThis.frames_.push(ms - last);
    last = ms;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
})()`;

/** Writes a conversation of so many questions and answers where the page keeps its own. */
function seed(rounds: number, answer: string): string {
  const turns = Array.from({ length: rounds }, (_, i) => [
    {
      id: `q${i}`,
      parent: i === 0 ? undefined : `a${i - 1}`,
      role: 'user',
      content: `Question ${i}?`,
      atMs: 2 * i,
    },
    {
      id: `a${i}`,
      parent: `q${i}`,
      role: 'assistant',
      content: answer,
      atMs: 2 * i + 1,
      end: 'stop',
      model: 'paced',
    },
  ]).flat();
  const chosen = Object.fromEntries(turns.map(({ id, parent = '' }) => [parent, id]));
  const summary = { id: 'long', title: 'A long one', updatedMs: 1, settings: {}, chosen };
  return `new Promise((resolve, reject) => {
    const opening = indexedDB.open('hadal');
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const transaction = opening.result.transaction(['conversations', 'turns'], 'readwrite');
      transaction.objectStore('conversations').put(${JSON.stringify(summary)});
      for (const turn of ${JSON.stringify(turns)}) transaction.objectStore('turns').put({ ...turn, conversation: 'long' });
      transaction.oncomplete = () => { localStorage.setItem('hadal.conversation', 'long'); opening.result.close(); resolve(); };
      transaction.onabort = () => reject(transaction.error);
    };
  })`;
}
