/**
 * Owns: what `quantize` and `convert` share: the type and the importance matrix that are asked for, what is shown before,
 * meanwhile and after.
 * Refuses to know: what is written and how.
 */
import { openFile } from '../formats/byte-source.node.ts';
import { readImatrix } from '../formats/imatrix.ts';
import { type FileTypeName, WRITTEN_TYPES, writtenTypeNamed } from '../quantize/file-types.ts';
import type { QuantizeOptions, QuantizePlan, QuantizeRequest } from '../quantize/quantize.node.ts';
import { parseRecipe, type Recipe, recipeJsonSchema } from '../quantize/recipe.ts';
import type { Written } from '../quantize/write-model.node.ts';
import type { Arguments } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import { digits, formatBytes, formatCount, formatMs, table } from './figures.ts';
import { textFile } from './input-file.ts';
import type { Terminal } from './terminal.ts';

/** The flag that shows what a recipe may hold. */
export const SCHEMA_FLAG = {
  schema: { type: 'boolean', description: 'print the JSON Schema of a recipe' },
} as const;

/** Prints the schema of recipes where that is asked for, and says so. Example: `if (toldSchema(terminal, given)) return;` */
export function toldSchema(terminal: Terminal, given: Arguments): boolean {
  if (given.has('schema')) terminal.json(recipeJsonSchema());
  return given.has('schema');
}

/** A mix, and what a recipe sets above it. */
export interface AskedType {
  readonly base: FileTypeName;
  readonly overrides: Recipe['overrides'];
}

/**
 * The type that a word or a recipe asks for; undefined where neither is given.
 *
 * @throws HadalError `usage` where both are, `file-unreadable`, `recipe-invalid`, `file-type-unknown`
 * @example await askedType('Q4_K_M', undefined)
 */
export async function askedType(
  type: string | undefined,
  recipePath: string | undefined,
): Promise<AskedType | undefined> {
  if (type !== undefined && recipePath !== undefined) {
    throw usageError({ what: 'the type', expected: 'a name, or --recipe FILE', got: 'both' });
  }
  if (type !== undefined) return { base: writtenTypeNamed(type), overrides: [] };
  if (recipePath === undefined) return undefined;
  const recipe = await textFile(recipePath, 'a recipe');
  return parseRecipe(recipe, recipePath);
}

/**
 * The importance matrix of a flag, as a part of a request; nothing without the flag.
 *
 * @throws HadalError `imatrix-invalid`, `file-unreadable`
 * @example await quantizeFile({ path, out, fileType, ...(await imatrixOf(given.text('imatrix'))) })
 */
export async function imatrixOf(path: string | undefined): Promise<Pick<QuantizeRequest, 'imatrix'>> {
  if (path === undefined) return {};
  const source = await openFile(path);
  try {
    return { imatrix: { path, matrix: await readImatrix(source) } };
  } finally {
    await source.close();
  }
}

/** The names of types, for a usage error. */
export const TYPE_NAMES = WRITTEN_TYPES.join(', ');

/**
 * Options of a writing run out of a command's flags, which show what goes on. Throws a usage error for a wrong flag.
 *
 * @example quantizeFile(request, shownWriting(terminal, given, signal, path, out))
 */
export function shownWriting(
  terminal: Terminal,
  given: Arguments,
  signal: AbortSignal,
  from: string,
  out: string,
): QuantizeOptions {
  const threads = given.number('threads', { min: 1, max: 256, whole: true });
  const shardGb = given.number('shard-gb', { min: 0.001 });
  if (!/\.gguf$/i.test(out))
    throw usageError({ what: '--out', expected: 'a name that ends in .gguf', got: out });
  return {
    force: given.has('force'),
    signal,
    ...(threads === undefined ? {} : { threads }),
    ...(shardGb === undefined ? {} : { shardBytes: shardGb * 1e9 }),
    onPlan: (plan) => announce(terminal, from, out, plan),
    onProgress: (done, total, tensor) =>
      terminal.progress(`${Math.floor((100 * done) / total)} %  ${formatBytes(done)}  ${tensor}`),
  };
}

/** What was written: paths on standard output, figures beside; or one document. */
export function tellWritten(
  terminal: Terminal,
  given: Arguments,
  from: string,
  type: FileTypeName,
  { plan, bytes, paths, resumedTensors }: Written & { readonly plan: QuantizePlan },
  tookMs: number,
): void {
  terminal.progress('');
  if (given.has('json')) {
    terminal.json({ from, paths, type, bytes, resumedTensors, tookMs, ...plan });
    return;
  }
  terminal.out(`${paths.join('\n')}\n`);
  const resumed = resumedTensors > 0 ? `, ${resumedTensors} tensors from before` : '';
  terminal.err(terminal.dim(`# ${formatBytes(bytes)} in ${formatMs(tookMs)}${resumed}\n`));
}

function announce(terminal: Terminal, from: string, out: string, plan: QuantizePlan): void {
  const { tensors, beforeBytes, afterBytes, bitsPerWeight } = plan;
  terminal.err(`${from}: ${formatBytes(beforeBytes)}\n  to ${out}: about ${formatBytes(afterBytes)}, `);
  terminal.err(`${digits(bitsPerWeight)} bits a weight\n`);
  const counts = new Map<string, number>();
  for (const { chosen } of tensors) counts.set(chosen.type, (counts.get(chosen.type) ?? 0) + 1);
  const rows = [...counts].map(([type, count]) => [
    `  ${type}`,
    formatCount(count),
    count === 1 ? 'tensor' : 'tensors',
  ]);
  terminal.err(`${table(rows, [1])}\n`);
  tellUnweighed(terminal, plan);
  const unfit = tensors.filter(({ chosen }) => chosen.insteadOf !== undefined);
  if (unfit.length === 0) return;
  const { name, chosen } = unfit[0]!;
  const others = unfit.length === 1 ? '' : ` and ${unfit.length - 1} more`;
  terminal.err(
    `  ${name}${others}: ${chosen.type} instead of ${chosen.insteadOf}, whose blocks do not fit the rows\n`,
  );
}

/** Which quantized tensors the importance matrix says nothing of. */
function tellUnweighed(terminal: Terminal, { withoutImportance: names = [] }: QuantizePlan): void {
  if (names.length === 0) return;
  const others = names.length > 3 ? ` and ${names.length - 3} more` : '';
  terminal.err(`  the importance matrix says nothing of ${names.slice(0, 3).join(', ')}${others}\n`);
}
