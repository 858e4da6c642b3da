/**
 * Owns: `hadal tokenize`: a text as token ids and the pieces they stand for.
 * Refuses to know: how a tokenizer works.
 */
import { defineCommand } from 'citty';
import { openTokenizer } from '../runtime/open.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatCount, table } from './figures.ts';
import { fetchShown } from './opening.ts';
import { admissionOf } from './policy.ts';
import { promptFrom } from './standard-input.ts';

export const text: CommandText = {
  usage: 'tokenize MODEL [TEXT] [flags]',
  examples: ['hadal tokenize smollm2-135m "Hello, world"', 'hadal tokenize smollm2-135m --json < prompt.txt'],
};

export const command = defineCommand({
  meta: { name: 'tokenize', description: 'show how a text is cut into tokens' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a GGUF file, a folder, or a name of the catalogue',
    },
    text: { type: 'positional', required: false, description: 'the text; standard input otherwise' },
    special: { type: 'boolean', description: 'recognise special tokens written in the text' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal, env, interruption } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs);
    const model = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const wanted = await promptFrom(given.words.slice(1), surroundings);
    if (wanted === undefined) {
      throw usageError({ what: 'TEXT is missing', next: `usage: hadal ${text.usage}` });
    }
    const tokenizer = await openTokenizer(model, {
      env,
      signal: interruption.signal,
      ...(await admissionOf(env)),
      ...fetchShown(terminal),
    });
    const ids = Array.from(tokenizer.encode(wanted, { special: given.has('special') }));
    const pieces = ids.map((id) => pieceOf(tokenizer.bytesOf(id)));
    if (given.has('json')) {
      terminal.json({
        model,
        count: ids.length,
        tokens: ids.map((id, i) => ({ id, ...pieces[i], special: tokenizer.isSpecial(id) })),
      });
      return;
    }
    const rows = ids.map((id, i) => {
      const piece = pieces[i];
      return [`${id}`, piece && 'text' in piece ? JSON.stringify(piece.text) : `bytes ${piece?.hex}`];
    });
    terminal.out(`${table(rows, [0])}\n`);
    terminal.err(terminal.dim(`# ${formatCount(ids.length)} tokens\n`));
  },
});

/** A token's text, or its bytes where they are only a part of a character. */
function pieceOf(bytes: Uint8Array): { text: string } | { hex: string } {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { hex: Buffer.from(bytes).toString('hex') };
  }
}
