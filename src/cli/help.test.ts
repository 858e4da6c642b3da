import { readFileSync } from 'node:fs';
import type { ArgsDef } from 'citty';
import { expect, test } from 'vitest';
import { COMMANDS } from './commands.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { commandHelp, rootHelp } from './help.ts';

const guide = readFileSync(new URL('../../docs/guide/cli.md', import.meta.url), 'utf8');

test('the help of the program names every command and exit code', () => {
  const help = rootHelp();
  for (const { name, summary } of COMMANDS) expect(help).toMatch(new RegExp(`^  ${name} +${summary}$`, 'm'));
  for (const { code, means } of EXIT_CODES) expect(help).toContain(`${`${code}`.padEnd(3)}  ${means}`);
  for (const line of help.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
});

test('the guide names every command and exit code', () => {
  for (const { name } of COMMANDS) expect(guide).toContain(`\`hadal ${name}`);
  const codes = [...guide.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
  expect(codes).toEqual(EXIT_CODES.map(({ code }) => code));
});

test.each(COMMANDS)('hadal $name: help, guide and flags agree', async ({ name, summary, load }) => {
  const module = await load();
  const definitions = module.command.args as ArgsDef;
  const help = commandHelp(module, summary);
  expect(module.command.meta).toMatchObject({ name, description: summary });
  expect(help).toContain(`usage: hadal ${name}`);
  for (const [flag, definition] of Object.entries(definitions)) {
    expect(definition.description).toMatch(/\w/);
    if (definition.type === 'positional') expect(help).toContain(flag.toUpperCase());
    else {
      expect(help).toMatch(new RegExp(`--${flag}( |$)`, 'm'));
      expect(guide).toContain(`--${flag}`);
    }
  }
  expect(definitions).toHaveProperty('json');
  for (const example of module.text.examples) expect(example).toMatch(new RegExp(`\\bhadal ${name}\\b`));
  for (const line of help.split('\n')) expect(line.length).toBeLessThanOrEqual(80);
});

test('the guide names no flag that no command has', async () => {
  const flags = new Set(['help']);
  for (const { load } of COMMANDS) {
    for (const flag of Object.keys((await load()).command.args as ArgsDef)) flags.add(flag);
  }
  const named = [...guide.matchAll(/--([a-z][a-z-]*)/g)].map(([, flag]) => flag);
  expect(named.filter((flag) => !flags.has(flag ?? ''))).toEqual([]);
});
