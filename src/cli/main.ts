#!/usr/bin/env node
/**
 * Owns: the way from the command line to a command, and from a failure to its sentence and exit code.
 * Refuses to know: what any command does.
 */
import { runCommand } from 'citty';
import { HadalError } from '../error.ts';
import { nearest } from '../hub/nearest.ts';
import { hearPassed } from '../hub/offline.node.ts';
import { COMMANDS } from './commands.ts';
import type { Surroundings } from './context.ts';
import { exitCodeOf, usageError } from './exit-codes.ts';
import { commandHelp, rootHelp } from './help.ts';
import { listen } from './interruption.ts';
import { wentOffline } from './offline.ts';
import { openTerminal } from './terminal.ts';

const terminal = openTerminal(process);
const surroundings: Surroundings = {
  terminal,
  interruption: listen(process, (heard) => hearPassed(process, heard)),
  env: process.env,
  stdin: process.stdin,
};
const raw = process.argv.slice(2);

try {
  await main();
} catch (error) {
  process.exitCode = exitCodeOf(error);
  report(error);
}

async function main(): Promise<void> {
  const [first, ...rest] = raw;
  if (first === undefined) {
    // It looks for hardware, as `hadal plan` does.
    if (await wentOffline('plan', 'sealed', surroundings)) return;
    await (await import('./welcome.ts')).welcome(surroundings);
    return;
  }
  if (first === 'help' || first === '--help' || first === '-h') {
    if (first === 'help' && rest[0] !== undefined) await showCommandHelp(rest[0]);
    else terminal.out(rootHelp());
    return;
  }
  const name = first === '--version' || first === '-v' || first === '-V' ? 'version' : first;
  const flagsEnd = rest.includes('--') ? rest.indexOf('--') : rest.length;
  const flags = rest.slice(0, flagsEnd);
  if (flags.includes('--help') || flags.includes('-h')) {
    await showCommandHelp(name);
    return;
  }
  const entry = entryOf(name);
  if (await wentOffline(name, entry.offline, surroundings)) return;
  const { command } = await entry.load();
  await runCommand(command, { rawArgs: rest, data: surroundings });
}

async function showCommandHelp(name: string): Promise<void> {
  const entry = entryOf(name);
  terminal.out(commandHelp(await entry.load(), entry.summary));
}

function entryOf(name: string) {
  const entry = COMMANDS.find((candidate) => candidate.name === name);
  if (entry !== undefined) return entry;
  const names = COMMANDS.map((candidate) => candidate.name);
  const guess = nearest(name, names);
  const isFile = /[/\\]|\.gguf$/i.test(name);
  throw usageError({
    what: name.startsWith('-') ? `${name} is not a flag of hadal itself` : `${name} is not a command`,
    next:
      guess !== undefined
        ? `did you mean hadal ${guess}?`
        : isFile
          ? `did you mean hadal run ${name}?`
          : `commands: ${names.join(', ')}`,
  });
}

/** What follows `--` is not ours to read. */
function wantsJson(): boolean {
  const end = raw.indexOf('--');
  return raw.slice(0, end < 0 ? raw.length : end).includes('--json');
}

function report(error: unknown): void {
  // A fault in the engine's own thread or process arrives with the code `internal` and its stack as the message.
  const known = error instanceof HadalError && error.code !== 'internal';
  if (known && (error.code === 'interrupted' || error.code === 'terminated') && !wantsJson()) return;
  const words = error instanceof Error ? error.message : String(error);
  const message = known ? words : (words.split('\n', 1)[0] ?? words);
  const code = known ? error.code : 'internal';
  if (wantsJson()) terminal.json({ error: { code, message } });
  else {
    const hint = known ? '' : '; this is a fault in hadal itself, HADAL_DEBUG=1 shows where';
    terminal.err(`hadal: ${message}${hint}\n`);
  }
  if (process.env.HADAL_DEBUG === '1' && error instanceof Error) terminal.err(`${error.stack}\n`);
}
