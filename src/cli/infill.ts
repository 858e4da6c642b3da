/**
 * Owns: `hadal infill`: what belongs between two texts.
 * Refuses to know: editors, which tokens ask for it.
 */
import { readFile } from 'node:fs/promises';
import { defineCommand } from 'citty';
import { HadalError } from '../error.ts';
import { ANSWER_FLAGS, answerOptionsOf, openingOf } from './answer-flags.ts';
import { answerDocument, figuresLine, showAnswer } from './answer-view.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { openShown } from './opening.ts';

export const text: CommandText = {
  usage: 'infill MODEL --prefix-file FILE [--suffix-file FILE] [flags]',
  examples: ['hadal infill ./coder.gguf --prefix-file before.py --suffix-file after.py -n 64'],
};

export const command = defineCommand({
  meta: { name: 'infill', description: 'write what belongs between two texts' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a GGUF file, a folder, or a name of the catalogue',
    },
    'prefix-file': { type: 'string', valueHint: 'FILE', description: 'the text before' },
    'suffix-file': { type: 'string', valueHint: 'FILE', description: 'the text behind; none otherwise' },
    ...ANSWER_FLAGS,
    quiet: { type: 'boolean', alias: 'q', description: 'no line with figures' },
    json: { type: 'boolean', description: 'print one JSON document when the answer is whole' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal, interruption } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { repeated: ['stop'], words: 1 });
    const model = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const answerOptions = { ...answerOptionsOf(given), signal: interruption.signal };
    const prefixFile = given.text('prefix-file');
    if (prefixFile === undefined) {
      throw usageError({ what: '--prefix-file is missing', next: `usage: hadal ${text.usage}` });
    }
    const suffixFile = given.text('suffix-file');
    const [prefix, suffix] = await Promise.all([
      read(prefixFile),
      suffixFile === undefined ? '' : read(suffixFile),
    ]);
    await using opened = await openShown(model, surroundings, openingOf(given));
    const { answerer } = opened;
    const deltas = answerer.infill(prefix, suffix, answerOptions);
    if (given.has('json')) {
      const answer = await showAnswer(deltas, terminal);
      interruption.signal.throwIfAborted();
      const sampling = { ...answerer.sampling, ...answerOptions.sampling };
      terminal.json(answerDocument(model, answer, answerer.contextTokens, sampling));
      return;
    }
    // Exactly the middle, so that it can be put between the files.
    const answer = await showAnswer(deltas, terminal, (piece) => terminal.out(piece));
    if (!given.has('quiet'))
      terminal.err(terminal.dim(`\n# ${figuresLine(answer, answerer.contextTokens)}\n`));
    interruption.signal.throwIfAborted();
  },
});

function read(path: string): Promise<string> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new HadalError('file-unreadable', { what: path, expected: 'a text file', got: `${error.code}` });
  });
}
