/**
 * Owns: `hadal quantize`: a model file in fewer bits.
 * Refuses to know: how numbers are encoded, which tensor gets which type.
 */
import { basename, dirname, join } from 'node:path';
import { defineCommand } from 'citty';
import { ggufStem } from '../formats/gguf/shards.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import type { FileTypeName } from '../quantize/file-types.ts';
import { quantizeFile } from '../quantize/quantize.node.ts';
import { type Arguments, readArguments } from './arguments.ts';
import { compare } from './comparing.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { admissionOf } from './policy.ts';
import {
  askedType,
  imatrixOf,
  SCHEMA_FLAG,
  shownWriting,
  TYPE_NAMES,
  tellWritten,
  toldSchema,
} from './writing.ts';

export const text: CommandText = {
  usage: 'quantize FILE TYPE [flags]',
  examples: [
    'hadal quantize ./v2-lite-bf16.gguf Q4_K_M',
    'hadal quantize ./model.gguf --recipe ./recipe.json',
    'hadal quantize ./model-bf16.gguf IQ4_XS --imatrix ./model-imatrix.gguf',
    'hadal quantize ./model-bf16.gguf --compare ./text.txt --svg ./types.svg',
  ],
};

export const command = defineCommand({
  meta: { name: 'quantize', description: 'write a model file in fewer bits' },
  args: {
    file: { type: 'positional', required: false, description: 'a GGUF file in F32, F16 or BF16' },
    type: { type: 'positional', required: false, description: 'Q4_K_M, Q8_0 …; not with --recipe' },
    compare: {
      type: 'string',
      valueHint: 'TEXTFILE',
      description: 'measure types (several TYPE, or seven) on a text',
    },
    svg: { type: 'string', valueHint: 'FILE', description: 'with --compare: a picture as well' },
    windows: { type: 'string', valueHint: 'N', description: 'with --compare: at most so many windows' },
    out: {
      type: 'string',
      valueHint: 'FILE',
      description: 'the new file; else beside the old, named by type',
    },
    recipe: { type: 'string', valueHint: 'FILE', description: 'JSON: which tensors get which type' },
    ...SCHEMA_FLAG,
    imatrix: { type: 'string', valueHint: 'FILE', description: 'which columns matter: `hadal imatrix`' },
    requantize: { type: 'boolean', description: 'also what is quantized already' },
    force: { type: 'boolean', description: 'replace a file that is there' },
    'shard-gb': { type: 'string', valueHint: 'N', description: 'files of at most so many gigabytes' },
    threads: { type: 'string', valueHint: 'N', description: 'threads that encode' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs);
    if (toldSchema(terminal, given)) return;
    const path = await resolveModel(given.word(0, 'FILE', `hadal ${text.usage}`), { env, fetch: false });
    if (given.text('compare') !== undefined) {
      await compare(path, given, data as Surroundings);
      return;
    }
    refuseWords(given);
    const asked = await askedType(given.words[1], given.text('recipe'));
    if (asked === undefined) {
      throw usageError({ what: 'TYPE is missing', expected: `one of ${TYPE_NAMES}, or --recipe FILE` });
    }
    const { base, overrides } = asked;
    const out = given.text('out') ?? besideName(path, base);
    const startedMs = performance.now();
    const imatrix = await imatrixOf(given.text('imatrix'));
    const written = await quantizeFile(
      { path, out, fileType: base, overrides, requantize: given.has('requantize'), ...imatrix },
      { ...shownWriting(terminal, given, interruption.signal, path, out), ...(await admissionOf(env)) },
    );
    tellWritten(terminal, given, path, base, written, performance.now() - startedMs);
  },
});

/** Several types, a picture and windows are there for comparing alone. */
function refuseWords(given: Arguments): void {
  if (given.words.length > 2) {
    const got = `also ${given.words.slice(2).join(' ')}`;
    throw usageError({ what: 'TYPE', expected: 'one, or --compare TEXTFILE', got });
  }
  for (const flag of ['svg', 'windows']) {
    if (given.has(flag)) throw usageError({ what: `--${flag}`, expected: '--compare TEXTFILE beside it' });
  }
}

/** `v2-lite-bf16.gguf` becomes `v2-lite-q4_k_m.gguf`; where the name says no type it is added. */
function besideName(path: string, type: FileTypeName): string {
  const stem = ggufStem(basename(path));
  const bare = stem.replace(/[-.](f32|f16|bf16)$/i, '');
  return join(dirname(path), `${bare}-${type.toLowerCase()}.gguf`);
}
