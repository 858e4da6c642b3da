/**
 * Owns: `hadal bundle`: packing everything that a machine without a network needs.
 * Refuses to know: how it is packed.
 */
import { defineCommand } from 'citty';
import { writeBundle } from '../hub/bundle.node.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, formatCount } from './figures.ts';
import { slowProgress } from './terminal.ts';
import { packageVersion } from './version.ts';

export const text: CommandText = {
  usage: 'bundle FOLDER [flags]',
  examples: ['hadal bundle ./hadal-bundle --model smollm2-135m', 'hadal bundle ./b --model ./model.gguf'],
};

export const command = defineCommand({
  meta: { name: 'bundle', description: 'pack program, page, docs and models for a machine offline' },
  args: {
    folder: { type: 'positional', required: false, description: 'the new folder' },
    model: { type: 'string', valueHint: 'MODEL', description: 'a model that goes along; repeatable' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1, repeated: ['model'] });
    const folder = given.word(0, 'FOLDER', `hadal ${text.usage}`);
    const models = await Promise.all(
      given.texts('model').map((model) => resolveModel(model, { env, fetch: false })),
    );
    const show = slowProgress(terminal);
    const facts = await writeBundle(folder, {
      version: packageVersion(),
      models,
      signal: interruption.signal,
      onFile: (name) => show(() => name),
    });
    terminal.progress('');
    if (given.has('json')) terminal.json({ folder, ...facts });
    else {
      terminal.out(
        `${folder}: ${formatCount(facts.files)} files, ${formatBytes(facts.bytes)}\nbundle.json has the SHA-256 ${facts.sha256}\n`,
      );
    }
  },
});
