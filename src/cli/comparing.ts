/**
 * Owns: `hadal quantize --compare`: which types, where results go, the table, the document and the picture.
 * Refuses to know: how types are made and measured.
 */
import { basename, dirname, join } from 'node:path';
import { type CompareRow, type Comparison, compareTypes } from '../evaluate/compare.node.ts';
import { compareChart } from '../evaluate/compare-chart.ts';
import { ggufStem } from '../formats/gguf/shards.ts';
import { type FileTypeName, writtenTypeNamed } from '../quantize/file-types.ts';
import { demandPlace } from '../quantize/write-model.node.ts';
import type { Arguments } from './arguments.ts';
import type { Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { digits, formatBytes, formatCount, table } from './figures.ts';
import { textFile } from './input-file.ts';
import { admissionOf } from './policy.ts';
import { imatrixOf } from './writing.ts';
import { writeText } from './written.ts';

/** What people choose between. */
const USUAL: readonly FileTypeName[] = ['Q8_0', 'Q6_K', 'Q5_K_M', 'Q4_K_M', 'IQ4_XS', 'Q3_K_M', 'Q2_K'];
/** Flags of writing one file. */
const OTHERS = ['recipe', 'shard-gb'];

/**
 * Runs the comparison that a command line asks for and shows it.
 *
 * @throws HadalError `usage`, `file-type-unknown`, `file-unreadable`, and as `compareTypes` does.
 * @example await compare('./model-bf16.gguf', given, surroundings);
 */
export async function compare(
  path: string,
  given: Arguments,
  { terminal, env, interruption }: Surroundings,
): Promise<void> {
  for (const flag of OTHERS) {
    if (given.has(flag)) throw usageError({ what: `--${flag}`, expected: 'no --compare beside it' });
  }
  const svg = given.text('svg');
  if (svg === undefined && given.has('force'))
    throw usageError({ what: '--force', expected: '--svg FILE beside it, or no --compare' });
  if (svg !== undefined) await demandPlace(svg, given.has('force'));
  const named = given.words.slice(1).map(writtenTypeNamed);
  const types = named.length > 0 ? [...new Set(named)] : USUAL;
  const windows = given.number('windows', { min: 1, whole: true });
  const threads = given.number('threads', { min: 1, max: 256, whole: true });
  const imatrix = await imatrixOf(given.text('imatrix'));
  const text = await textFile(given.text('compare')!);
  const stem = ggufStem(basename(path));
  const results = given.text('out') ?? join(dirname(path), `${stem}.compare.jsonl`);
  // Files and rows on disk are removed before it ends.
  interruption.allow(60_000);
  const comparison = await compareTypes(
    {
      path,
      types,
      text,
      results,
      requantize: given.has('requantize'),
      ...imatrix,
      ...(windows === undefined ? {} : { windows }),
      ...(threads === undefined ? {} : { threads }),
    },
    {
      signal: interruption.signal,
      ...(await admissionOf(env)),
      onProgress: (type, doing, part) =>
        terminal.progress(`${type}: ${doing}${doing === 'timing' ? '' : ` ${Math.floor(100 * part)} %`}`),
      onRow: (row, resumed) => {
        const from = resumed ? ', measured before' : '';
        terminal.err(terminal.dim(`# ${row.type}: perplexity ${row.perplexity.toFixed(3)}${from}\n`));
      },
    },
  );
  terminal.progress('');
  if (svg !== undefined) await writeText(svg, picture(basename(path), comparison));
  if (given.has('json')) terminal.json({ from: path, results, ...(svg && { svg }), ...comparison });
  else terminal.out(`${table([HEAD, ...comparison.rows.map(cells)], [1, 2, 3, 4, 5, 6, 7, 8, 9])}\n`);
}

const HEAD = [
  'type',
  'file',
  'bits',
  'memory',
  'perplexity',
  'mean KL',
  '99 % KL',
  'same best',
  'reads, t/s',
  'answers, t/s',
];

function cells(row: CompareRow): string[] {
  const reference = row.type === 'reference';
  return [
    row.type,
    formatBytes(row.fileBytes),
    digits(row.bitsPerWeight),
    formatBytes(row.memoryBytes),
    `${row.perplexity.toFixed(3)} ± ${row.perplexityError.toFixed(3)}`,
    reference ? '' : `${row.kl.toFixed(5)} ± ${row.klError.toFixed(5)}`,
    reference ? '' : row.kl99.toFixed(4),
    reference ? '' : `${(100 * row.sameTop).toFixed(1)} %`,
    digits(row.prefillRate),
    digits(row.decodeRate),
  ];
}

function picture(name: string, { rows, tokens, windowTokens }: Comparison): string {
  const judged = `${formatCount(tokens)} tokens judged in windows of ${formatCount(windowTokens)}`;
  const note = `${judged}; KL from the file as given, which is the reference`;
  return compareChart(`${name} in ${rows.length - 1} types`, note, rows);
}
