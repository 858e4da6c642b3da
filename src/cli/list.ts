/**
 * Owns: `hadal list`: which models are on disk.
 * Refuses to know: where they lie.
 */
import { defineCommand } from 'citty';
import { storedModels } from '../hub/inventory.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, table } from './figures.ts';

export const text: CommandText = { usage: 'list', examples: ['hadal list', 'hadal list --json'] };

export const command = defineCommand({
  meta: { name: 'list', description: 'list the models on disk' },
  args: { json: { type: 'boolean', description: 'print one JSON document' } },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 0 });
    const models = await storedModels(env);
    if (given.has('json'))
      terminal.json({ models: models.map(({ name, path, bytes, kind }) => ({ name, path, bytes, kind })) });
    else if (models.length === 0)
      terminal.out('No model is on disk; fetch one with: hadal pull smollm2-135m\n');
    else
      terminal.out(
        `${table(
          models.map(({ name, bytes }) => [name, formatBytes(bytes)]),
          [1],
        )}\n`,
      );
  },
});
