/**
 * Owns: `hadal verify`: whether a bundle arrived as it was packed.
 * Refuses to know: how that is found out.
 */
import { defineCommand } from 'citty';
import { verifyBundle } from '../hub/bundle.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, formatCount } from './figures.ts';

export const text: CommandText = {
  usage: 'verify FOLDER [flags]',
  examples: ['hadal verify ./hadal-bundle', 'hadal verify ./hadal-bundle --digest 9f86d081…'],
};

export const command = defineCommand({
  meta: { name: 'verify', description: 'check that a bundle arrived as it was packed' },
  args: {
    folder: { type: 'positional', required: false, description: 'the bundle' },
    digest: { type: 'string', valueHint: 'SHA256', description: 'of bundle.json, as `hadal bundle` said it' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const folder = given.word(0, 'FOLDER', `hadal ${text.usage}`);
    const facts = await verifyBundle(folder, given.text('digest'));
    if (given.has('json')) terminal.json({ folder, ...facts });
    else {
      const { files, bytes, sha256 } = facts;
      terminal.out(
        `${folder}: as it was packed: ${formatCount(files)} files, ${formatBytes(bytes)}\nbundle.json has the SHA-256 ${sha256}\n`,
      );
    }
  },
});
