/** Owns: the page in a real Chromium against a real server: talking, stopping, editing, its policy. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readPage } from '../../src/server/page.ts';
import { keepShot, startBrowser, type TestBrowser } from '../fixtures/browser.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';
import { answered, answers, findings, say } from '../fixtures/page.ts';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const MARKDOWN = [
  'An orbit is a fall that **misses**.',
  '',
  '| body | period |',
  '|---|---:|',
  '| Moon | 27.3 d |',
  '',
  '```python',
  'def period(a, mu):',
  '    return 2 * pi * sqrt(a**3 / mu)',
  '```',
  '',
  'So $T^2 \\propto a^3$. <img src=x onerror="document.title=\'owned\'"> [out](javascript:alert(1))',
].join('\n');

describeWith(['browser'], 'the page', () => {
  let folder = '';
  let server: TestServer;
  let browser: TestBrowser;
  let page: Page;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-page-'));
    const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
      { text: `Newton first.</think>${MARKDOWN}`, after: 'an orbit' },
      { text: 'Short.</think>Because it falls.', after: 'why is that' },
      { text: `Long.</think>${'It goes on and on. '.repeat(200)}`, after: 'a long story' },
    ]);
    server = await startTestServer({
      served: [{ name: 'deep', aliases: [], source: path, pinned: false }],
      local: { env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
    });
    browser = await startBrowser({ viewport: { width: 1280, height: 800 }, colorScheme: 'dark' });
    page = await browser.page();
    await page.goto(server.url);
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('answers, with thinking, Markdown, code and mathematics; what a model writes is never HTML', async () => {
    await say(page, 'What is an orbit?');
    await answered(page);
    const answer = answers(page).first();
    expect(await answer.locator('strong').first().textContent()).toBe('misses');
    expect(await answer.locator('summary').textContent()).toMatch(/^Thought for \d/);
    expect(await answer.locator('td').first().textContent()).toBe('Moon');
    expect(await answer.locator('.hl-keyword').first().textContent()).toBe('def');
    await answer.locator('math msup').first().waitFor({ state: 'attached' });
    expect(await answer.textContent()).toContain('onerror="document.title');
    expect(await answer.locator('img, script, [onerror]').count()).toBe(0);
    expect(await answer.locator('a').count()).toBe(0);
    expect(await page.title()).toBe('Hadal');
    expect(await answer.locator('.figures').textContent()).toMatch(/\d+ tokens · .*of context left/);
    expect(await findings(page)).toEqual([]);
    await keepShot(page, 'answer-dark');
  });

  test('stops, and what was said stays over a reload', async () => {
    await say(page, 'Tell me a long story');
    await page.getByText('It goes on').first().waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await answered(page);
    const said = await answers(page).last().locator('.markdown').last().textContent();
    expect(said).toContain('It goes on');
    await page.reload();
    await page.getByText('Stopped here.').waitFor();
    await expect.poll(() => answers(page).last().locator('.markdown').last().textContent()).toBe(said);
  });

  test('editing makes a branch, and both stay', async () => {
    await page.getByRole('button', { name: 'Edit this message' }).last().click();
    await page.locator('.editor textarea').fill('why is that');
    await page.getByRole('button', { name: 'Ask this instead' }).click();
    await page.getByText('Because it falls.').waitFor();
    await answered(page);
    expect(await page.getByText('2 of 2').count()).toBe(1);
    await page.getByRole('button', { name: 'Branch before' }).click();
    await page.getByText('Stopped here.').waitFor();
  });

  test('the machine: figures, lines, unpinning, unloading and loading', async () => {
    await page.getByRole('link', { name: 'Machine' }).click();
    const card = page.getByRole('article', { name: 'Model deep' });
    await card.getByText('ready', { exact: true }).waitFor();
    expect(await page.locator('.tile').count()).toBe(4);
    await card.getByRole('img', { name: /Tokens a second/ }).waitFor();
    await card.getByRole('button', { name: 'Pin' }).click();
    await card.getByRole('button', { name: 'Pinned' }).click();
    await card.getByRole('button', { name: 'Unload' }).click();
    await card.getByRole('button', { name: 'Load', exact: true }).click();
    await card.getByRole('button', { name: 'Unload' }).waitFor();
    expect(await findings(page)).toEqual([]);
    await keepShot(page, 'machine-dark');
    await page.getByRole('link', { name: 'Back to the conversation' }).click();
    await page.getByText('Stopped here.').waitFor();
  });

  test('asks nobody but this server, and its policy was never offended', () => {
    expect(browser.asked.filter((url) => !url.startsWith(`${server.url}/`))).toEqual([]);
    expect(browser.complaints).toEqual([]);
    expect(server.errors).toEqual([]);
  });

  test('is under 150 kB as it is sent, all of it', () => {
    const bytes = [...readPage().values()].reduce((sum, { gzip }) => sum + gzip.length, 0);
    expect(bytes).toBeLessThan(150_000);
    expect(bytes).toBeGreaterThan(10_000);
  });

  test('comes with a policy that allows nothing inline and nothing from elsewhere', async () => {
    const response = await fetch(server.url);
    const policy = response.headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("require-trusted-types-for 'script'");
    expect(policy).not.toMatch(/unsafe|data:|\*/);
  });
});

describeWith(['browser', 'weights'], 'the page with a real model', () => {
  test('a conversation of two turns; the second finds the first in the cache', async () => {
    await using server = await startTestServer({
      served: [{ name: 'smollm2', aliases: [], source: testModelPath()!, pinned: true }],
      local: { env: process.env, contextTokens: 2048, onAnnounce() {}, onWarning() {} },
    });
    await using browser = await startBrowser({ viewport: { width: 1280, height: 800 } });
    const page = await browser.page();
    await page.goto(server.url);
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    for (const [label, value] of [
      ['Temperature', '0'],
      ['Longest answer, tokens', '60'],
    ] as const) {
      await page.getByLabel(label).fill(value);
      await page.getByLabel(label).blur();
    }
    await say(page, 'What is gravity?');
    await answers(page)
      .getByText(/gravity is/i)
      .first()
      .waitFor();
    await answered(page);
    await say(page, 'Why does an apple fall?');
    await answers(page)
      .nth(1)
      .getByText(/force|gravity/i)
      .first()
      .waitFor();
    await answered(page);
    const figures = await answers(page).nth(1).locator('.figures').textContent();
    expect(figures).toMatch(/\d+ tokens · [\d.]+ tokens\/s · .*\d+ from the cache · [\d,]+ of context left/);
    await keepShot(page, 'real-model-light');
    expect(browser.complaints).toEqual([]);
  });
});
