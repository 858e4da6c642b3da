/**
 * Owns: `hadal version`: what this is and what it runs on.
 * Refuses to know: models.
 */
import { readFileSync } from 'node:fs';
import { defineCommand } from 'citty';
import { chooseBackend } from '../backend/choose.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';

export const text: CommandText = {
  usage: 'version [--json]',
  examples: ['hadal version', 'hadal version --json'],
};

export const command = defineCommand({
  meta: { name: 'version', description: 'print the version and what it runs on' },
  args: { json: { type: 'boolean', description: 'print one JSON document' } },
  async run({ rawArgs, cmd, data }) {
    const { terminal } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 0 });
    const warnings: string[] = [];
    const backend = chooseBackend({ onWarning: (warning) => warnings.push(warning) });
    const { info } = backend;
    await backend[Symbol.asyncDispose]();
    const version = packageVersion();
    const { node } = process.versions;
    const { platform, arch } = process;
    if (given.has('json')) {
      terminal.json({ version, node, platform, arch, backend: info, warnings });
      return;
    }
    const threads = `${info.threads} ${info.threads === 1 ? 'thread' : 'threads'}`;
    terminal.out(
      `hadal ${version} · Node ${node} · ${platform}-${arch} · ${info.name} backend, ${info.isa}, ${threads}\n`,
    );
    for (const warning of warnings) terminal.err(`hadal: ${warning}\n`);
  },
});

/** The version of this package. */
export function packageVersion(): string {
  const file = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}
