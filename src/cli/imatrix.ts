/**
 * Owns: `hadal imatrix`: which columns of a model's matrices matter on a text, as a file for `hadal quantize`.
 * Refuses to know: how it is computed, the file's layout.
 */
import { basename, dirname, extname, join } from 'node:path';
import { defineCommand } from 'citty';
import { ggufStem } from '../formats/gguf/shards.ts';
import { type Imatrix, type ImatrixFormat, imatrixBytes } from '../formats/imatrix.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { collectImatrix, type RareExperts, rareExperts } from '../quantize/collect-imatrix.node.ts';
import { demandPlace, writeParts } from '../quantize/write-model.node.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { formatCount, formatMs } from './figures.ts';
import { textFile } from './input-file.ts';
import { admissionOf } from './policy.ts';

export const text: CommandText = {
  usage: 'imatrix MODEL TEXTFILE [flags]',
  examples: [
    'hadal imatrix ./v2-lite-bf16.gguf ./calibration.txt',
    'hadal imatrix ./model.gguf ./calibration.txt --chunks 100 -o ./model.dat',
  ],
};

export const command = defineCommand({
  meta: { name: 'imatrix', description: 'measure which columns of a model matter, for quantizing' },
  args: {
    model: { type: 'positional', required: false, description: 'a GGUF file' },
    textfile: { type: 'positional', required: false, description: 'a text like those it will work on' },
    out: {
      type: 'string',
      alias: 'o',
      valueHint: 'FILE',
      description: 'the new file; else beside the model',
    },
    format: { type: 'string', valueHint: 'gguf|dat', description: 'else by the ending of the file' },
    ctx: { type: 'string', valueHint: 'N', description: 'tokens of a chunk; 512 otherwise' },
    chunks: { type: 'string', valueHint: 'N', description: 'at most so many chunks' },
    force: { type: 'boolean', description: 'replace a file that is there' },
    threads: { type: 'string', valueHint: 'N', description: 'threads; all that may be used otherwise' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 2 });
    const name = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const dataset = given.word(1, 'TEXTFILE', `hadal ${text.usage}`);
    const chunkTokens = given.number('ctx', { min: 16, max: 1 << 20, whole: true });
    const chunks = given.number('chunks', { min: 1, whole: true });
    const threads = given.number('threads', { min: 1, max: 1024, whole: true });
    const asked = askedFormat(given);
    const path = await resolveModel(name, { env, fetch: false });
    const out = given.text('out') ?? besideName(path, asked ?? 'gguf');
    const format = asked ?? (extname(out) === '.dat' ? 'dat' : 'gguf');
    await demandPlace(out, given.has('force'));
    const startedMs = performance.now();
    const request = {
      path,
      dataset,
      text: await textFile(dataset),
      ...(chunkTokens === undefined ? {} : { chunkTokens }),
      ...(chunks === undefined ? {} : { chunks }),
    };
    const imatrix = await collectImatrix(request, {
      env,
      signal: interruption.signal,
      ...(threads === undefined ? {} : { threads }),
      ...(await admissionOf(env)),
      onWarning: (sentence) => terminal.err(`hadal: ${sentence}\n`),
      onProgress: (done, all) => terminal.progress(`${done} of ${all} chunks`),
    });
    terminal.progress('');
    await writeParts(out, imatrixBytes(imatrix, format), given.has('force'));
    const rare = rareExperts(imatrix.entries);
    const tookMs = performance.now() - startedMs;
    const { datasets, entries, ...figures } = imatrix;
    if (given.has('json')) {
      terminal.json({
        model: path,
        path: out,
        format,
        datasets,
        entries: entries.size,
        ...figures,
        rare,
        tookMs,
      });
      return;
    }
    terminal.out(`${out}\n`);
    terminal.err(terminal.dim(`# ${summary(imatrix)} in ${formatMs(tookMs)}\n`));
    for (const layer of rare) terminal.err(`${rareLine(layer)}\n`);
    if (rare.length > 0) {
      terminal.err(
        'Where an expert was never chosen, all its columns weigh alike; a longer text may reach it.\n',
      );
    }
  },
});

function askedFormat(given: Arguments): ImatrixFormat | undefined {
  const asked = given.text('format');
  if (asked === undefined || asked === 'gguf' || asked === 'dat') return asked;
  throw usageError({ what: '--format', expected: 'gguf or dat', got: JSON.stringify(asked) });
}

/** `v2-lite-bf16.gguf` becomes `v2-lite-bf16-imatrix.gguf`. */
function besideName(path: string, format: ImatrixFormat): string {
  const stem = ggufStem(basename(path));
  return join(dirname(path), `${stem}-imatrix.${format}`);
}

function summary({ entries, chunks, chunkTokens = 0 }: Imatrix): string {
  return `${entries.size} tensors over ${formatCount(chunks)} chunks of ${formatCount(chunkTokens)} tokens`;
}

/** Example: `blk.3, 64 experts: never chosen 17; rarely 5 (2 tokens)`. */
function rareLine({ layer, experts, never, rarely }: RareExperts): string {
  const parts = [
    ...(never.length > 0 ? [`never chosen ${never.join(', ')}`] : []),
    ...(rarely.length > 0
      ? [
          `rarely ${rarely.map(({ expert, tokens }) => `${expert} (${formatCount(tokens)} tokens)`).join(', ')}`,
        ]
      : []),
  ];
  return `blk.${layer}, ${experts} experts: ${parts.join('; ')}`;
}
