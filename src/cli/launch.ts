/**
 * Owns: `hadal launch`: pointing a program at a server, showing how, undoing it, starting the program.
 * Refuses to know: what any program's settings are called, how files are changed.
 */
import { spawn } from 'node:child_process';
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { defineCommand } from 'citty';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { nearest } from '../hub/nearest.ts';
import { type Arguments, readArguments } from './arguments.ts';
import { applyChanges } from './clients/changes.ts';
import { CLIENTS, type Client, KEY_VARIABLE, type Target } from './clients/clients.ts';
import {
  othersMayRead,
  readRecord,
  recordPath,
  type UndoneSettings,
  undoSettings,
  writeSettings,
} from './clients/settings-file.ts';
import { FORMATS } from './clients/settings-format.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { table } from './figures.ts';

export const text: CommandText = {
  usage: 'launch [CLIENT] [flags] [-- ARGUMENTS]',
  examples: [
    'hadal launch',
    'hadal launch claude-code',
    'hadal launch codex --model v3.2 --print',
    'hadal launch aider --no-start',
    'hadal launch aider --undo',
  ],
};

const DEFAULT_URL = 'http://127.0.0.1:11434';
/** How long a server may take to say what it serves. */
const ANSWER_MS = 10_000;

export const command = defineCommand({
  meta: { name: 'launch', description: 'point a coding agent or editor at a server, and start it' },
  args: {
    client: {
      type: 'positional',
      required: false,
      description: 'whom to point at it; lists whom it knows when absent',
    },
    url: { type: 'string', valueHint: 'URL', description: `${DEFAULT_URL} otherwise` },
    model: { type: 'string', valueHint: 'NAME', description: 'the model; the only one served otherwise' },
    print: { type: 'boolean', description: 'only show what would be set, and where' },
    undo: { type: 'boolean', description: 'take out again what was set' },
    'no-start': { type: 'boolean', description: 'do not start the client' },
    json: { type: 'boolean', description: 'print one JSON document; starts nothing' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs);
    const [name, ...args] = given.words;
    if (name === undefined) return list(given, surroundings);
    const client = clientOf(name);
    if (given.has('undo')) return await undo(client, given, surroundings);
    const target = await targetOf(given, surroundings);
    if (given.has('print')) return print(client, target, given, surroundings);
    await point(client, target, given, surroundings);
    if (!given.has('no-start') && !given.has('json')) await start(client, args, surroundings);
  },
});

function clientOf(name: string): Client {
  const found = CLIENTS.find((client) => client.name === name.toLowerCase());
  if (found !== undefined) return found;
  const names = CLIENTS.map((client) => client.name);
  const guess = nearest(name.toLowerCase(), names);
  throw usageError({
    what: name,
    expected: names.join(', '),
    got: 'something else',
    ...(guess === undefined ? {} : { next: `did you mean ${guess}?` }),
  });
}

function list(given: Arguments, { terminal, env }: Surroundings): void {
  const rows = CLIENTS.map((client) => ({
    client: client.name,
    file: client.file(env).path,
    pointed: existsSync(recordPath(client.name, env)),
    installed: found(client.command, env) !== undefined,
    install: client.install,
  }));
  if (given.has('json')) {
    terminal.json({ clients: rows });
    return;
  }
  const words = rows.map(({ client, file, pointed, installed }) => [
    client,
    installed ? 'installed' : 'not found',
    pointed ? 'pointed here' : '',
    file,
  ]);
  terminal.out(`${table([['client', 'program', 'settings', 'file'], ...words])}\n`);
}

const UNDONE: Readonly<Record<UndoneSettings['outcome'], string>> = {
  restored: 'is as it was',
  missing: 'was removed meanwhile, and stays so',
  'taken-out': 'was changed meanwhile: what was put there is out again, everything else stays',
};

async function undo(client: Client, given: Arguments, { terminal, env }: Surroundings): Promise<void> {
  const undone = await undoSettings(recordPath(client.name, env));
  const kept = undone?.kept.map((path) =>
    path.map((step) => (typeof step === 'string' ? step : step.name)).join('.'),
  );
  if (given.has('json')) {
    const { path: file = null, outcome = null } = undone ?? {};
    terminal.json({ client: client.name, file, outcome, kept: kept ?? [] });
    return;
  }
  if (undone === undefined) terminal.err(`nothing to undo for ${client.title}\n`);
  else terminal.err(`${undone.path} ${UNDONE[undone.outcome]}\n`);
  for (const path of kept ?? []) terminal.err(`left as it is, since it was changed meanwhile: ${path}\n`);
}

function print(client: Client, target: Target, given: Arguments, { terminal, env }: Surroundings): void {
  const { path, format } = client.file(env);
  const settings = applyChanges(FORMATS[format], '', client.changes(target)).text;
  if (given.has('json')) {
    terminal.json({ client: client.name, file: path, format, settings });
    return;
  }
  terminal.err(terminal.dim(`# in ${path}\n`));
  terminal.out(settings.endsWith('\n') ? settings : `${settings}\n`);
}

async function point(
  client: Client,
  target: Target,
  given: Arguments,
  { terminal, env }: Surroundings,
): Promise<void> {
  const file = client.file(env);
  const record = recordPath(client.name, env);
  const changes = client.changes(target);
  const { changed } = await writeSettings(file, changes, record);
  const holdsKey = target.key !== undefined && JSON.stringify(changes).includes(target.key);
  const exposed = holdsKey && othersMayRead(file.path);
  if (given.has('json')) {
    const backup = readRecord(record) === undefined ? null : record;
    terminal.json({ client: client.name, file: file.path, changed, model: target.model, backup, exposed });
    return;
  }
  terminal.err(
    changed
      ? `${file.path} points at ${target.model}; undo it with: hadal launch ${client.name} --undo\n`
      : `${file.path} points at ${target.model} already\n`,
  );
  if (exposed) terminal.err(`it holds the key, and others may read it: chmod 600 ${file.path}\n`);
}

async function start(
  client: Client,
  args: readonly string[],
  { terminal, env, interruption }: Surroundings,
): Promise<void> {
  const program = found(client.command, env);
  if (program === undefined) {
    terminal.err(`${client.command} was not found; ${client.title} comes by: ${client.install}\n`);
    return;
  }
  const child = spawn(program, [...args], { stdio: 'inherit', env: { ...env } });
  // Ctrl-C is the program's own, as it has the same terminal.
  const stop = () => void child.kill('SIGTERM');
  interruption.signal.addEventListener('abort', stop, { once: true });
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (ended) => resolve(ended ?? 1));
  });
  interruption.signal.removeEventListener('abort', stop);
  if (code === 0) return;
  throw new HadalError('client-failed', {
    what: `${client.command} ended with ${code}`,
    next: 'see what it said',
  });
}

/** Where a program is. */
function found(program: string, env: Surroundings['env']): string | undefined {
  const names = process.platform === 'win32' ? [`${program}.exe`] : [program];
  const paths = (env.PATH ?? '')
    .split(delimiter)
    .flatMap((folder) => names.map((name) => join(folder, name)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

async function targetOf(given: Arguments, { env, interruption }: Surroundings): Promise<Target> {
  const url = addressOf(given.text('url') ?? DEFAULT_URL);
  const key = env[KEY_VARIABLE] || undefined;
  const wanted = given.text('model');
  if (wanted !== undefined) return { url, key, model: wanted };
  const names = await servedBy({ url, key, signal: interruption.signal });
  const [only] = names;
  if (only !== undefined && names.length === 1) return { url, key, model: only };
  throw usageError({
    what: '--model',
    expected: names.length === 0 ? 'a model at the server' : `one of ${names.join(', ')}`,
    got: 'none',
    next: names.length === 0 ? 'serve one with: hadal serve MODEL' : 'name one',
  });
}

function addressOf(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol))
    return url.origin + url.pathname.replace(/(\/v1)?\/*$/, '');
  throw usageError({ what: '--url', expected: `an address like ${DEFAULT_URL}`, got: JSON.stringify(text) });
}

const modelsSchema = z.looseObject({ data: z.array(z.looseObject({ id: z.string() })) });

/** Names of the models of a server. */
async function servedBy({
  url,
  key,
  signal,
}: Pick<Target, 'url' | 'key'> & { readonly signal: AbortSignal }): Promise<string[]> {
  const address = `${url}/v1/models`;
  let response: Response;
  try {
    response = await fetch(address, {
      headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
  } catch (cause) {
    signal.throwIfAborted();
    const next =
      'start it with `hadal serve MODEL`, or name another with --url; --model says it without asking';
    throw new HadalError(
      'server-missing',
      { what: address, expected: 'a server', got: 'no answer', next },
      { cause },
    );
  }
  if (response.status === 401) {
    throw new HadalError('key-missing', {
      what: address,
      expected: `a key of it in ${KEY_VARIABLE}`,
      got: key === undefined ? 'none' : 'another',
      next: 'set it, and run this again',
    });
  }
  const parsed = modelsSchema.safeParse(await response.json().catch(() => undefined));
  if (response.ok && parsed.success) return parsed.data.data.map(({ id }) => id);
  throw new HadalError('server-missing', {
    what: address,
    expected: 'a list of models',
    got: `status ${response.status}`,
    next: 'check --url',
  });
}
