/**
 * Owns: `hadal quantize`: a model file in fewer bits.
 * Refuses to know: how numbers are encoded, which tensor gets which type.
 */
import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { defineCommand } from 'citty';
import { HadalError } from '../error.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { FILE_TYPES, type FileTypeName, fileTypeNamed } from '../quantize/file-types.ts';
import { type QuantizePlan, quantizeFile } from '../quantize/quantize.node.ts';
import { parseRecipe, type Recipe } from '../quantize/recipe.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { digits, formatBytes, formatCount, formatMs, table } from './figures.ts';
import type { Terminal } from './terminal.ts';

export const text: CommandText = {
  usage: 'quantize FILE TYPE [flags]',
  examples: [
    'hadal quantize ./v2-lite-bf16.gguf Q4_K_M',
    'hadal quantize ./model.gguf --recipe ./recipe.json',
  ],
};

export const command = defineCommand({
  meta: { name: 'quantize', description: 'write a model file in fewer bits' },
  args: {
    file: { type: 'positional', required: false, description: 'a GGUF file in F32, F16 or BF16' },
    type: { type: 'positional', required: false, description: 'Q4_K_M, Q8_0 …; not with --recipe' },
    out: {
      type: 'string',
      valueHint: 'FILE',
      description: 'the new file; else beside the old, named by type',
    },
    recipe: { type: 'string', valueHint: 'FILE', description: 'JSON: which tensors get which type' },
    requantize: { type: 'boolean', description: 'also what is quantized already' },
    force: { type: 'boolean', description: 'replace a file that is there' },
    'shard-gb': { type: 'string', valueHint: 'N', description: 'files of at most so many gigabytes' },
    threads: { type: 'string', valueHint: 'N', description: 'threads that encode' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 2 });
    const path = await resolveModel(given.word(0, 'FILE', `hadal ${text.usage}`), { env, fetch: false });
    const { base, overrides } = await askedType(given.words[1], given.text('recipe'));
    const threads = given.number('threads', { min: 1, max: 256, whole: true });
    const shardGb = given.number('shard-gb', { min: 0.001 });
    const out = given.text('out') ?? besideName(path, base);
    if (!/\.gguf$/i.test(out))
      throw usageError({ what: '--out', expected: 'a name that ends in .gguf', got: out });
    const startedMs = performance.now();
    const { plan, bytes, paths, resumedTensors } = await quantizeFile(
      { path, out, fileType: base, overrides, requantize: given.has('requantize') },
      {
        force: given.has('force'),
        signal: interruption.signal,
        ...(threads === undefined ? {} : { threads }),
        ...(shardGb === undefined ? {} : { shardBytes: shardGb * 1e9 }),
        onPlan: (plan) => announce(terminal, path, out, plan),
        onProgress: (done, total, tensor) =>
          terminal.progress(`${Math.floor((100 * done) / total)} %  ${formatBytes(done)}  ${tensor}`),
      },
    );
    terminal.progress('');
    const tookMs = performance.now() - startedMs;
    if (given.has('json')) {
      terminal.json({ from: path, paths, type: base, bytes, resumedTensors, tookMs, ...plan });
      return;
    }
    terminal.out(`${paths.join('\n')}\n`);
    const resumed = resumedTensors > 0 ? `, ${resumedTensors} tensors from before` : '';
    terminal.err(terminal.dim(`# ${formatBytes(bytes)} in ${formatMs(tookMs)}${resumed}\n`));
  },
});

async function askedType(
  type: string | undefined,
  recipePath: string | undefined,
): Promise<{ base: FileTypeName; overrides: Recipe['overrides'] }> {
  if ((type === undefined) === (recipePath === undefined)) {
    throw usageError({
      what: 'TYPE',
      expected: `one of ${Object.keys(FILE_TYPES).join(', ')}, or --recipe FILE`,
      got: type === undefined ? 'neither' : 'both',
    });
  }
  if (recipePath === undefined) return { base: fileTypeNamed(type!), overrides: [] };
  const recipe = await readFile(recipePath, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    const got = cause.code ?? cause.message;
    throw new HadalError('file-unreadable', {
      what: recipePath,
      expected: 'a recipe',
      got,
      next: 'check the path',
    });
  });
  return parseRecipe(recipe, recipePath);
}

/** `v2-lite-bf16.gguf` becomes `v2-lite-q4_k_m.gguf`; where the name says no type it is added. */
function besideName(path: string, type: FileTypeName): string {
  const stem = basename(path).replace(/(-\d{5}-of-\d{5})?\.gguf$/i, '');
  const bare = stem.replace(/[-.](f32|f16|bf16)$/i, '');
  return join(dirname(path), `${bare}-${type.toLowerCase()}.gguf`);
}

function announce(terminal: Terminal, path: string, out: string, plan: QuantizePlan): void {
  const { tensors, beforeBytes, afterBytes, bitsPerWeight } = plan;
  terminal.err(`${path}: ${formatBytes(beforeBytes)}\n  to ${out}: about ${formatBytes(afterBytes)}, `);
  terminal.err(`${digits(bitsPerWeight)} bits a weight\n`);
  const counts = new Map<string, number>();
  for (const { chosen } of tensors) counts.set(chosen.type, (counts.get(chosen.type) ?? 0) + 1);
  const rows = [...counts].map(([type, count]) => [
    `  ${type}`,
    formatCount(count),
    count === 1 ? 'tensor' : 'tensors',
  ]);
  terminal.err(`${table(rows, [1])}\n`);
  const unfit = tensors.filter(({ chosen }) => chosen.insteadOf !== undefined);
  if (unfit.length === 0) return;
  const { name, chosen } = unfit[0]!;
  const others = unfit.length === 1 ? '' : ` and ${unfit.length - 1} more`;
  terminal.err(
    `  ${name}${others}: ${chosen.type} instead of ${chosen.insteadOf}, whose blocks do not fit the rows\n`,
  );
}
