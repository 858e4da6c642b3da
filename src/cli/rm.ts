/**
 * Owns: `hadal rm`: removing models from disk.
 * Refuses to know: where they lie.
 */
import { defineCommand } from 'citty';
import { removeModel, storedModel } from '../hub/inventory.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes } from './figures.ts';

export const text: CommandText = { usage: 'rm MODEL…', examples: ['hadal rm smollm2-135m'] };

export const command = defineCommand({
  meta: { name: 'rm', description: 'remove models from disk' },
  args: {
    model: { type: 'positional', required: false, description: 'names of `hadal list`' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs);
    given.word(0, 'MODEL', `hadal ${text.usage}`);
    // All names are found before anything is removed.
    const models = await Promise.all(given.words.map((name) => storedModel(name, env)));
    const removed: { readonly name: string; readonly freed_bytes: number }[] = [];
    for (const model of models)
      removed.push({ name: model.name, freed_bytes: await removeModel(model, env) });
    if (given.has('json')) terminal.json({ removed });
    else
      for (const { name, freed_bytes } of removed)
        terminal.out(`removed ${name}, ${formatBytes(freed_bytes)}\n`);
  },
});
