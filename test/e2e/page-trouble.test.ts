/** Owns: the page when something goes wrong: keys, schemas, servers that go away. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { keyRing, newKey } from '../../src/http/keys.ts';
import { keepShot, startBrowser, type TestBrowser } from '../fixtures/browser.ts';
import { describeWith } from '../fixtures/needs.ts';
import { answered, answers, findings, say } from '../fixtures/page.ts';
import { type ScriptedModel, scriptedModel } from '../fixtures/scripted-model.ts';
import { startTestServer, type TestServer } from '../fixtures/server.ts';

const { key, secret } = newKey({ name: 'page', models: ['*'], limits: {} });

describeWith(['browser'], 'the page in trouble', () => {
  let folder = '';
  let model: ScriptedModel;
  let server: TestServer;
  let browser: TestBrowser;
  let page: Page;
  const start = (port: number) =>
    startTestServer({
      served: [{ name: 'deep', aliases: [], source: model.path, pinned: false }],
      local: { env: model.env, contextTokens: 8192, onAnnounce() {}, onWarning() {} },
      keys: keyRing([key]),
      port,
    });
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hadal-page-'));
    model = await scriptedModel('deepseek-v3.2', folder, [
      { text: 'Yes.</think>Here I am.', after: 'are you there' },
      { text: `Long.</think>${'It goes on and on. '.repeat(300)}`, after: 'a long story' },
    ]);
    server = await start(0);
    browser = await startBrowser({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
    page = await browser.page();
    await page.goto(server.url);
  });
  afterAll(async () => {
    await browser?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('asks for a key, says that one is refused, and takes the right one', async () => {
    const dialog = page.getByRole('dialog', { name: 'This server asks for a key' });
    await dialog.getByLabel('Key', { exact: true }).fill('hdl_wrong');
    await page.keyboard.press('Enter');
    await dialog.getByText('The server refused this key.').waitFor();
    expect(await findings(page)).toEqual([]);
    await keepShot(page, 'key-refused-light');
    await page.keyboard.press('Escape');
    await dialog.getByLabel('Key', { exact: true }).fill(secret);
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'detached' });
    await say(page, 'are you there');
    await page.getByText('Here I am.').waitFor();
    await answered(page);
  });

  test('a key for this window only is in no lasting place', async () => {
    const kept = await page.evaluate<string[]>(
      '[localStorage, sessionStorage].map((one) => JSON.stringify(one))',
    );
    expect(kept[0]).not.toContain(secret);
    expect(kept[1]).toContain(secret);
  });

  test('a schema that is no JSON, and one that the server refuses: said below the answer', async () => {
    await page.getByRole('button', { name: 'Settings', exact: true }).click();
    const schema = page.getByLabel('JSON schema that answers obey');
    await schema.fill('{ "type": ');
    await schema.blur();
    await page.getByText('This is no JSON').waitFor();
    await say(page, 'are you there');
    await page.getByRole('alert').getByText('the JSON schema is no JSON').waitFor();
    await schema.fill('{ "type": "nonsense" }');
    await schema.blur();
    await page.getByRole('button', { name: 'Answer again', exact: true }).last().click();
    await page.getByRole('alert').getByText('one of object').waitFor();
    await answered(page);
    await keepShot(page, 'schema-refused-light');
    expect(await findings(page)).toEqual([]);
    await schema.fill('');
    await schema.blur();
    await page.getByRole('button', { name: 'Answer again', exact: true }).last().click();
    await answers(page).last().getByText('Here I am.').waitFor();
    await page.getByRole('button', { name: 'Close the settings' }).click();
  });

  test('a server that restarts in the middle: what was said stays, and the page goes on by itself', async () => {
    const port = Number(new URL(server.url).port);
    await say(page, 'a long story');
    await answers(page).last().getByText('It goes on and on.').waitFor();
    await server.close(0);
    await page.getByText('The server does not answer.').waitFor();
    const alert = answers(page).last().getByRole('alert');
    expect(await alert.textContent()).toMatch(/^The server ended this answer|^the server went away/);
    expect(await answers(page).last().textContent()).toContain('It goes on and on.');
    await keepShot(page, 'server-gone-light');
    await server[Symbol.asyncDispose]();
    server = await start(port);
    await page.getByText('The server does not answer.').waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Answer again', exact: true }).last().click();
    await answers(page).last().getByText('It goes on').waitFor();
    await page.keyboard.press('Escape');
    await answered(page);
    expect(await answers(page).last().getByRole('alert').count()).toBe(0);
    expect(await page.getByText('2 of 2').count()).toBe(1);
  });
});
