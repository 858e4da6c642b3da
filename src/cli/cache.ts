/**
 * Owns: `hadal cache list|rm`: what is kept on disk of prompts, and erasing it.
 * Refuses to know: how it is kept.
 */
import { defineCommand } from 'citty';
import { archiveFigures, eraseAll } from '../engine/page-folder.node.ts';
import { pageCacheFolder } from '../hub/store.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatBytes } from './figures.ts';

export const text: CommandText = {
  usage: 'cache list|rm',
  examples: ['hadal cache list', 'hadal cache rm'],
};

export const command = defineCommand({
  meta: { name: 'cache', description: 'show or erase what is kept on disk of prompts' },
  args: {
    action: { type: 'positional', required: false, description: 'list or rm' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const action = given.word(0, 'list or rm', `hadal ${text.usage}`);
    const folder = pageCacheFolder(env);
    if (action !== 'list' && action !== 'rm') {
      throw usageError({ what: action, expected: 'list or rm', got: 'something else' });
    }
    const { pages, bytes } = await archiveFigures(folder);
    if (action === 'rm') await eraseAll(folder);
    if (given.has('json')) terminal.json({ folder, pages, bytes, erased: action === 'rm' });
    else if (action === 'rm') terminal.out(`erased ${pages} pages, ${formatBytes(bytes)}\n`);
    else terminal.out(`${folder}: ${pages} pages, ${formatBytes(bytes)}\n`);
  },
});
