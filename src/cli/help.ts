/**
 * Owns: the text of `--help`, for the program and for each command.
 * Refuses to know: how commands run.
 */
import type { ArgsDef } from 'citty';
import { COMMANDS, type CommandModule } from './commands.ts';
import { EXIT_CODES } from './exit-codes.ts';
import { table } from './figures.ts';

/** Flags that every command has. */
const EVERYWHERE: ArgsDef = {
  help: { type: 'boolean', alias: 'h', description: 'show this' },
};

/**
 * The help of the program.
 *
 * @example terminal.out(rootHelp());
 */
export function rootHelp(): string {
  return [
    'Hadal runs language models from GGUF files and folders on your machine.',
    '',
    'usage: hadal COMMAND [...]',
    '',
    indent(table(COMMANDS.map(({ name, summary }) => [name, summary]))),
    '',
    'Try:',
    '  hadal run smollm2-135m "What is gravity?"',
    '',
    'Every command takes --help, and --json for one JSON document.',
    '',
    'Exit codes:',
    indent(table(EXIT_CODES.map(({ code, means }) => [`${code}`, means]))),
    '',
  ].join('\n');
}

/**
 * The help of one command.
 *
 * @example terminal.out(commandHelp(await entry.load(), 'answer a prompt'));
 */
export function commandHelp({ command, text }: CommandModule, summary: string): string {
  const definitions = { ...(command.args as ArgsDef), ...EVERYWHERE };
  const words: string[][] = [];
  const flags: string[][] = [];
  for (const [name, definition] of Object.entries(definitions)) {
    const description = definition.description ?? '';
    if (definition.type === 'positional') words.push([name.toUpperCase(), description]);
    else flags.push([flagSpelling(name, definition), description]);
  }
  return [
    `${summary[0]?.toUpperCase()}${summary.slice(1)}.`,
    '',
    `usage: hadal ${text.usage}`,
    '',
    ...(words.length === 0 ? [] : [indent(table(words)), '']),
    indent(table(flags)),
    '',
    'Examples:',
    ...text.examples.map((example) => `  ${example}`),
    '',
  ].join('\n');
}

function flagSpelling(name: string, definition: ArgsDef[string]): string {
  const aliases = [('alias' in definition && definition.alias) || []].flat();
  const short = aliases.find((alias) => alias.length === 1);
  const hint = definition.type === 'boolean' ? '' : ` ${definition.valueHint ?? 'TEXT'}`;
  return `${short === undefined ? '   ' : `-${short},`} --${name}${hint}`;
}

function indent(text: string): string {
  return text.replace(/^/gm, '  ');
}
