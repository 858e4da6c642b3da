/**
 * Owns: `hadal convert`: a Hugging Face folder as a GGUF file.
 * Refuses to know: how numbers are encoded, GGUF's keys and names.
 */
import { basename, dirname, join, resolve } from 'node:path';
import { defineCommand } from 'citty';
import { convertFolder } from '../quantize/convert.node.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { admissionOf } from './policy.ts';
import { askedType, imatrixOf, SCHEMA_FLAG, shownWriting, tellWritten, toldSchema } from './writing.ts';

export const text: CommandText = {
  usage: 'convert DIR [flags]',
  examples: ['hadal convert ./DeepSeek-V2-Lite', 'hadal convert ./DeepSeek-V3 --to Q4_K_M --shard-gb 48'],
};

export const command = defineCommand({
  meta: { name: 'convert', description: 'write a Hugging Face folder as a GGUF file' },
  args: {
    dir: { type: 'positional', required: false, description: 'config.json, tokenizer.json, safetensors' },
    to: { type: 'string', valueHint: 'TYPE', description: 'Q4_K_M, Q8_0 …; else what the folder is in' },
    recipe: { type: 'string', valueHint: 'FILE', description: 'JSON: which tensors get which type' },
    ...SCHEMA_FLAG,
    imatrix: { type: 'string', valueHint: 'FILE', description: 'which columns matter: `hadal imatrix`' },
    out: { type: 'string', valueHint: 'FILE', description: 'the new file; else beside the folder' },
    force: { type: 'boolean', description: 'replace a file that is there' },
    'shard-gb': { type: 'string', valueHint: 'N', description: 'files of at most so many gigabytes' },
    threads: { type: 'string', valueHint: 'N', description: 'threads that encode' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env, interruption } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    if (toldSchema(terminal, given)) return;
    const folder = given.word(0, 'DIR', `hadal ${text.usage}`);
    const asked = await askedType(given.text('to'), given.text('recipe'));
    const path = resolve(folder);
    const out = given.text('out') ?? join(dirname(folder), nameOf(basename(path), asked?.base));
    const startedMs = performance.now();
    const imatrix = await imatrixOf(given.text('imatrix'));
    const type = asked === undefined ? {} : { fileType: asked.base, overrides: asked.overrides };
    const written = await convertFolder(
      { folder, out, ...type, ...imatrix },
      { ...shownWriting(terminal, given, interruption.signal, folder, out), ...(await admissionOf(env)) },
    );
    const { fileType, ...rest } = written;
    tellWritten(terminal, given, folder, fileType, rest, performance.now() - startedMs);
  },
});

function nameOf(folder: string, type: string | undefined): string {
  return type === undefined ? `${folder}.gguf` : `${folder}-${type.toLowerCase()}.gguf`;
}
