/** Owns: the page by keyboard alone, at the width of a phone, for those who listen; tools, tokens, experts, histories, files. */
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Download, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ELSEWHERE, keepShot, startBrowser, type TestBrowser } from '../fixtures/browser.ts';
import { describeWith } from '../fixtures/needs.ts';
import { answered, answers, findings, say } from '../fixtures/page.ts';
import { scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';
import { TOY_TEMPLATE, toyGguf } from '../fixtures/toy-model.ts';
import type { ToyShape } from '../fixtures/toy-weights.ts';

const CALL =
  '\n\n<｜DSML｜function_calls>\n<｜DSML｜invoke name="weather">\n' +
  '<｜DSML｜parameter name="city" string="true">Köln</｜DSML｜parameter>\n' +
  '</｜DSML｜invoke>\n</｜DSML｜function_calls>';
const TOOLS = JSON.stringify([
  { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
]);
const shapes: readonly ToyShape[] = JSON.parse(
  readFileSync(new URL('../golden/models/shapes.json', import.meta.url), 'utf8'),
);

describeWith(['browser'], 'the page in hands', () => {
  let folder = '';
  let server: TestServer;
  let browser: TestBrowser;
  let page: Page;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-page-'));
    const { path, env } = await scriptedModel('deepseek-v3.2', folder, [
      { text: `It may rain.</think>I look.${CALL}`, after: 'raining' },
      { text: 'It does.</think>Yes, it rains.', after: 'wet and grey' },
      { text: 'Simple.</think>Forty-two.', after: 'six times seven' },
      { text: 'Read.</think>It says amber.', after: 'the word is amber' },
    ]);
    const experts = join(folder, 'experts.gguf');
    const shape = shapes.find(({ name }) => name === 'v3-like')!;
    await writeFile(experts, toyGguf(shape, { chatTemplate: TOY_TEMPLATE }));
    server = await startTestServer({
      served: [
        { name: 'deep', aliases: [], source: path, pinned: false },
        { name: 'experts', aliases: [], source: experts, pinned: false },
      ],
      local: { env, onAnnounce() {}, onWarning() {} },
      hosts: [ELSEWHERE],
    });
    browser = await startBrowser({
      viewport: { width: 1280, height: 800 },
      colorScheme: 'light',
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    page = await browser.page();
    await page.goto(server.url);
    await page
      .getByRole('combobox', { name: 'Model' })
      .locator('option')
      .nth(1)
      .waitFor({ state: 'attached' });
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const focused = () =>
    page.evaluate<string>(
      'document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent.trim()',
    );
  /** Goes from element to element until one of that name has the focus. */
  const tabTo = async (name: string, key: 'Tab' | 'Shift+Tab' = 'Tab') => {
    for (let i = 0; i < 60; i++) {
      if ((await focused()) === name) return;
      await page.keyboard.press(key);
    }
    throw new Error(`the keyboard does not reach ${name}`);
  };

  test('by keyboard alone: ask, ask again, compare branches, edit, search, settings', async () => {
    await page.keyboard.press('/');
    await page.keyboard.type('six times seven');
    await page.keyboard.press('Enter');
    await page.getByText('Forty-two.').waitFor();
    await answered(page);
    await tabTo('Answer again', 'Shift+Tab');
    await page.keyboard.press('Enter');
    await page.getByText('2 of 2').waitFor();
    await answered(page);
    await tabTo('Branch before', 'Shift+Tab');
    await page.keyboard.press('Enter');
    await page.getByText('1 of 2').waitFor();
    await tabTo('Edit this message', 'Shift+Tab');
    await page.keyboard.press('Enter');
    await page.keyboard.type(' again');
    await page.keyboard.press('Enter');
    await page.getByText('six times seven again').waitFor();
    await answered(page);
    await page.keyboard.press('Control+k');
    await expect.poll(focused).toBe('');
    await page.keyboard.type('forty nothing');
    await page.getByText('Nothing found.').waitFor();
    await page.keyboard.press('Control+a');
    await page.keyboard.type('forty');
    await page.getByRole('button', { name: 'six times seven', exact: true }).waitFor();
    await page.keyboard.press('Control+a');
    await page.keyboard.press('Delete');
    await tabTo('Settings');
    await page.keyboard.press('Enter');
    await tabTo('Close the settings');
    await page.keyboard.press('Enter');
    await page.getByRole('complementary', { name: 'Settings' }).waitFor({ state: 'detached' });
    await page.keyboard.press('Control+Shift+O');
    await page.getByText('What shall we look into?').waitFor();
  });

  test('shows calls of tools, and takes their results', async () => {
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    const tools = page.getByLabel('Tools: a list of functions');
    await tools.fill(TOOLS);
    await tools.blur();
    await say(page, 'Is it raining?');
    const call = page.getByRole('region', { name: 'Call of weather' });
    await call.getByText('Köln').waitFor();
    await call.getByLabel('Its result').fill('wet and grey');
    expect(await findings(page)).toEqual([]);
    await keepShot(page, 'tools-light');
    await page.getByRole('button', { name: 'Give the result back' }).click();
    await page.getByText('Yes, it rains.').waitFor();
    await answered(page);
    await page.getByRole('button', { name: 'Close the settings' }).click();
  });

  test('copies an answer, and says so to those who cannot see it', async () => {
    await page.getByRole('button', { name: 'Copy this answer' }).last().click();
    await page.getByText('Copied.').waitFor({ state: 'attached' });
    expect(await page.evaluate<string>('navigator.clipboard.readText()')).toBe('Yes, it rains.');
  });

  test('attaches a text file, and refuses what is no text', async () => {
    const chooser = page.locator('input[type=file]');
    await chooser.setInputFiles({ name: 'a.bin', mimeType: '', buffer: Buffer.from([0xff, 0xfe, 0]) });
    await page.getByRole('alert').getByText('a.bin is no text').waitFor();
    const buffer = Buffer.from('``` the word is amber');
    await chooser.setInputFiles({ name: 'note.md', mimeType: 'text/markdown', buffer });
    await say(page, 'What does it say?');
    await page.getByText('It says amber.').waitFor();
    await answered(page);
    await page.locator('.bubble .files').getByText('note.md').waitFor();
  });

  test('shows how likely each token was, with what might have stood there', async () => {
    await page.getByRole('combobox', { name: 'Model' }).selectOption('experts');
    await page.keyboard.press('Control+Shift+O');
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    await page.getByLabel('Tools: a list of functions').fill('');
    await page.getByLabel('Longest answer, tokens').fill('12');
    // Drawn by another seed an answer may end before its twelfth token.
    await page.getByLabel('Seed').fill('1');
    await page.getByLabel('Longest answer, tokens').blur();
    await page.getByRole('button', { name: 'Close the settings' }).click();
    await say(page, 'hello');
    await answers(page).first().waitFor();
    await answered(page);
    await page.getByRole('button', { name: 'Answer again with log-probabilities of its tokens' }).click();
    await page.getByText('2 of 2').waitFor();
    await answered(page);
    await page.getByRole('button', { name: 'Show tokens' }).click();
    const tokens = page.locator('.token');
    expect(await tokens.count()).toBe(12);
    await page.locator('.tokens').focus();
    await page.keyboard.press('ArrowRight');
    expect(await page.locator('.token.chosen').count()).toBe(1);
    expect(await page.locator('.alternatives tbody tr').count()).toBe(5);
    expect(await findings(page)).toEqual([]);
    await keepShot(page, 'tokens-light');
  });

  test('shows which experts were chosen', async () => {
    await page.getByRole('link', { name: 'Machine' }).click();
    const card = page.getByRole('article', { name: 'Model experts' });
    await card.getByText(/2 layers of 32\. Balance \d+ %/).waitFor();
    expect(await card.getByRole('list', { name: 'Balance by layer' }).locator('li').count()).toBe(2);
    expect(await findings(page)).toEqual([]);
    await card.getByRole('img', { name: /Heat map/ }).scrollIntoViewIfNeeded();
    await keepShot(page, 'experts-light');
    await page.getByRole('link', { name: 'Back to the conversation' }).click();
  });

  test('exports a conversation, and forgets it when told to', async () => {
    const files: Download[] = [];
    page.on('download', (download) => files.push(download));
    await page.getByRole('button', { name: 'Export Is it raining?' }).click();
    await expect.poll(() => files.length).toBe(2);
    const markdown = await readFile(await files[0]!.path(), 'utf8');
    expect(markdown).toContain('Calls weather');
    expect(JSON.parse(await readFile(await files[1]!.path(), 'utf8')).turns).toHaveLength(6);
    page.on('dialog', (dialog) => void dialog.accept());
    await page.getByRole('button', { name: 'Delete Is it raining?' }).click();
    await page.getByRole('button', { name: 'Export Is it raining?' }).waitFor({ state: 'detached' });
    await page.reload();
    await page.getByRole('button', { name: 'six times seven', exact: true }).waitFor();
    expect(await page.getByText('Is it raining?').count()).toBe(0);
    await page.getByRole('button', { name: 'Delete all' }).click();
    await page.getByText('What shall we look into?').waitFor();
    expect(await page.evaluate<number>(KEPT_TURNS)).toBe(0);
    expect(browser.complaints).toEqual([]);
  });

  describe('at the width of a phone', () => {
    let phone: TestBrowser;
    let small: Page;
    let modelsAreKnown = () => {};
    beforeAll(async () => {
      phone = await startBrowser({
        viewport: { width: 390, height: 844 },
        hasTouch: true,
        colorScheme: 'dark',
      });
      small = await phone.page();
      const known = new Promise<void>((resolve) => {
        modelsAreKnown = resolve;
      });
      await small.route('**/v1/models', async (route) => {
        await known;
        await route.continue();
      });
      // As from another machine: over plain HTTP, by a name.
      await small.goto(server.url.replace('127.0.0.1', ELSEWHERE));
    });
    afterAll(() => phone?.[Symbol.asyncDispose]());
    const width = () => small.evaluate<number>('document.documentElement.scrollWidth');

    test('nothing is wider than the screen, and every part is reached', async () => {
      await say(small, 'six times seven');
      // A message written before the page knows any model waits for one.
      await small.getByText('This is sent as soon as').waitFor();
      modelsAreKnown();
      await small.getByText('Forty-two.').waitFor();
      await answered(small);
      expect(await small.evaluate<boolean>('isSecureContext')).toBe(false);
      await small.getByRole('button', { name: 'Copy this answer' }).tap();
      await small.getByText('Copied.').waitFor({ state: 'attached' });
      await small.getByLabel('Your message').focus();
      await small.keyboard.press('Control+V');
      expect(await small.getByLabel('Your message').inputValue()).toBe('Forty-two.');
      await small.getByLabel('Your message').fill('');
      expect(await width()).toBe(390);
      expect(await findings(small)).toEqual([]);
      await keepShot(small, 'phone-dark');
      await small.getByRole('button', { name: 'Conversations' }).tap();
      await small.getByRole('button', { name: 'six times seven', exact: true }).tap();
      await small.getByRole('navigation', { name: 'Conversations' }).waitFor({ state: 'detached' });
      await small.getByRole('button', { name: 'Settings', exact: true }).tap();
      expect(await findings(small)).toEqual([]);
      await keepShot(small, 'phone-settings-dark');
      await small.touchscreen.tap(10, 400);
      await small.getByRole('complementary', { name: 'Settings' }).waitFor({ state: 'detached' });
      await small.getByRole('link', { name: 'Machine' }).tap();
      await small.getByRole('article', { name: 'Model experts' }).waitFor();
      expect(await width()).toBe(390);
      expect(await findings(small)).toEqual([]);
      await keepShot(small, 'phone-machine-dark');
      // Chromium tells that it passes over headers which only count over TLS.
      expect(phone.complaints.filter((text) => !/untrustworthy/.test(text))).toEqual([]);
    });
  });
});

const KEPT_TURNS = `new Promise((resolve) => {
  indexedDB.open('hadal').onsuccess = ({ target: { result } }) => {
    result.transaction('turns').objectStore('turns').count().onsuccess = ({ target }) => resolve(target.result);
  };
})`;
