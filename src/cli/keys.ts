/**
 * Owns: `hadal keys add|list|rm`: who may call the server.
 * Refuses to know: how keys are checked.
 */
import { existsSync } from 'node:fs';
import { defineCommand } from 'citty';
import { eraseSalt } from '../engine/page-folder.node.ts';
import { type ApiKey, changeKeys, keysPath, newKey, readKeys, saltOf } from '../http/keys.ts';
import { pageCacheFolder } from '../hub/store.node.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { table } from './figures.ts';

export const text: CommandText = {
  usage: 'keys add|list|rm [NAME] [flags]',
  examples: [
    'hadal keys add ada',
    'hadal keys add ci --models "smollm2*" --concurrent 2 --per-minute 60',
    'hadal keys list',
    'hadal keys rm ci',
  ],
};

const ACTIONS = ['add', 'list', 'rm'];

export const command = defineCommand({
  meta: { name: 'keys', description: 'say who may call the server' },
  args: {
    action: { type: 'positional', required: false, description: 'add, list or rm' },
    name: { type: 'positional', required: false, description: 'whose key it is' },
    models: {
      type: 'string',
      valueHint: 'NAMES',
      description: 'models it may use: a,b*,c; all otherwise',
    },
    concurrent: { type: 'string', valueHint: 'N', description: 'requests at the same time' },
    'per-minute': { type: 'string', valueHint: 'N', description: 'requests in a minute' },
    keys: { type: 'string', valueHint: 'FILE', description: 'the file of keys; the usual one otherwise' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 2 });
    const action = given.word(0, 'add, list or rm', `hadal ${text.usage}`);
    const path = given.text('keys') ?? keysPath(surroundings.env);
    if (action !== 'add' && ['models', 'concurrent', 'per-minute'].some((flag) => given.has(flag))) {
      throw usageError({ what: 'limits', expected: 'them with `add`', got: action });
    }
    switch (action) {
      case 'add':
        return add(given, path, surroundings);
      case 'list':
        return list(given, path, surroundings);
      case 'rm':
        return remove(given, path, surroundings);
      default:
        throw usageError({ what: action, expected: ACTIONS.join(', '), got: 'something else' });
    }
  },
});

async function add(given: Arguments, path: string, { terminal }: Surroundings): Promise<void> {
  const name = given.word(1, 'NAME', 'hadal keys add NAME');
  const concurrent = given.number('concurrent', { min: 1, whole: true });
  const perMinute = given.number('per-minute', { min: 1, whole: true });
  const { key, secret } = newKey({
    name,
    models: (given.text('models') ?? '*').split(',').map((model) => model.trim()),
    limits: {
      ...(concurrent === undefined ? {} : { concurrent }),
      ...(perMinute === undefined ? {} : { perMinute }),
    },
  });
  await changeKeys(path, (keys) => {
    if (!keys.some((other) => other.name === name)) return [...keys, key];
    throw usageError({
      what: name,
      expected: 'a new name',
      got: 'one that has a key',
      next: `hadal keys rm ${name}`,
    });
  });
  if (given.has('json')) terminal.json({ name, key: secret, path });
  else {
    terminal.out(`${secret}\n`);
    terminal.err(
      terminal.dim('# this is the only time it is shown; a running server knows it within a second\n'),
    );
  }
}

function list(given: Arguments, path: string, { terminal }: Surroundings): void {
  const keys = existsSync(path) ? readKeys(path) : [];
  if (given.has('json')) {
    terminal.json({ path, keys: keys.map(({ sha256: _, ...shown }) => shown) });
    return;
  }
  if (keys.length === 0) terminal.err(`no keys in ${path}\n`);
  else terminal.out(`${table([['name', 'models', 'limits', 'created'], ...keys.map(row)])}\n`);
}

function row({ name, models, limits, created }: ApiKey): string[] {
  const { concurrent, perMinute } = limits;
  const words = [concurrent && `${concurrent} at once`, perMinute && `${perMinute} a minute`].filter(Boolean);
  return [name, models.join(','), words.join(', ') || 'none', created.slice(0, 10)];
}

async function remove(given: Arguments, path: string, { terminal, env }: Surroundings): Promise<void> {
  const name = given.word(1, 'NAME', 'hadal keys rm NAME');
  const gone: ApiKey[] = [];
  // Where there is no file this says so, rather than that there are no keys in it.
  readKeys(path);
  await changeKeys(path, (keys) => {
    gone.push(...keys.filter((key) => key.name === name));
    if (gone.length > 0) return keys.filter((key) => key.name !== name);
    throw usageError({
      what: name,
      expected: keys.map((key) => key.name).join(', ') || 'no key',
      got: 'another',
    });
  });
  for (const key of gone) await eraseSalt(pageCacheFolder(env), saltOf(key));
  if (given.has('json')) terminal.json({ removed: name, path });
  else terminal.err(`${name} may not call any more\n`);
}
