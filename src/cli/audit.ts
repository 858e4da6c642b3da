/**
 * Owns: `hadal audit`: the verdict on a model file or folder, in words or as JSON, and its exit code.
 * Refuses to know: how anything is judged.
 */
import { existsSync } from 'node:fs';
import { defineCommand } from 'citty';
import { type AuditOptions, type AuditReport, auditPath } from '../audit/audit.node.ts';
import { billOfMaterials } from '../audit/bom.ts';
import { readDigests } from '../audit/digests.ts';
import type { Verdict } from '../audit/finding.ts';
import { readSignature, readTrust } from '../audit/signature.ts';
import { openFile } from '../formats/byte-source.node.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, formatCount, table } from './figures.ts';
import { slowProgress } from './terminal.ts';
import { packageVersion } from './version.ts';
import { writeText } from './written.ts';

export const text: CommandText = {
  usage: 'audit FILE|DIR [flags]',
  examples: ['hadal audit ./model.gguf', 'hadal audit ./DeepSeek-V3', 'hadal audit ./model.gguf --json'],
};

/** What each verdict means, and the exit code that says it. */
const VERDICTS: Readonly<Record<Verdict, { readonly exitCode: number; readonly words: string }>> = {
  load: { exitCode: 0, words: 'load it: nothing was found that speaks against it' },
  look: { exitCode: 3, words: 'look first: a person should read what is marked "look"' },
  refuse: { exitCode: 4, words: 'do not load it' },
};

export const command = defineCommand({
  meta: { name: 'audit', description: 'say whether a model file is safe to load, and why' },
  args: {
    file: {
      type: 'positional',
      required: false,
      description: 'a file, a folder, a chat template, or a name that is on disk',
    },
    'allow-pickle': {
      type: 'boolean',
      description: 'judge pickles by their opcodes; refused otherwise',
    },
    digests: { type: 'string', valueHint: 'FILE', description: "the publisher's list, as of sha256sum" },
    signature: { type: 'string', valueHint: 'FILE', description: 'a signature (OMS); model.sig otherwise' },
    trust: { type: 'string', valueHint: 'FILE', description: 'a key or certificate in PEM; repeatable' },
    bom: { type: 'string', valueHint: 'FILE', description: 'write a CycloneDX bill of materials' },
    json: { type: 'boolean', description: 'print everything in one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1, repeated: ['trust'] });
    const name = given.word(0, 'FILE', `hadal ${text.usage}`);
    const path = existsSync(name) ? name : await resolveModel(name, { env, fetch: false });
    const show = slowProgress(terminal);
    const report = await auditPath(path, {
      ...(await originOf(given)),
      allowPickle: given.has('allow-pickle'),
      onRead: (bytes) => show(() => `read ${formatBytes(bytes)}`),
    });
    terminal.progress('');
    const bom = given.text('bom');
    if (bom !== undefined) {
      const bill = billOfMaterials(report, {
        version: packageVersion(),
        timestamp: new Date().toISOString(),
      });
      await writeText(bom, `${JSON.stringify(bill, null, 2)}\n`);
    }
    const { metadata: _metadata, ...document } = report;
    if (given.has('json')) terminal.json(document);
    else terminal.out(words(report));
    process.exitCode = VERDICTS[report.verdict].exitCode;
  },
});

/** What the publisher says of the files: digests, a signature, and who is trusted. */
async function originOf(given: Arguments): Promise<AuditOptions> {
  const [digests, signature] = [given.text('digests'), given.text('signature')];
  const trusted = await Promise.all(given.texts('trust').map(readText));
  return {
    ...(digests === undefined ? {} : { digests: readDigests(await readText(digests), digests) }),
    ...(signature === undefined
      ? {}
      : { signature: { signature: readSignature(await readText(signature), signature), path: signature } }),
    ...(trusted.length === 0 ? {} : { trust: readTrust(trusted) }),
  };
}

async function readText(path: string): Promise<string> {
  const source = await openFile(path);
  try {
    return new TextDecoder().decode(await source.read(0, source.size));
  } finally {
    await source.close();
  }
}

function words({ path, verdict, model, files, findings }: AuditReport): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const what =
    model === null
      ? 'no model that can be read'
      : `${model.format}, ${model.architecture ?? 'an architecture that Hadal does not run'}, ${formatCount(model.numbers)} numbers in ${formatCount(model.tensors)} tensors`;
  const order = ['refuse', 'look', 'note'] as const;
  const rows = order.flatMap((level) =>
    findings
      .filter((finding) => finding.level === level)
      .map(({ where, says }) => [level, `${where === '.' ? 'the folder' : where}: ${says}`]),
  );
  return [
    `${path}: ${VERDICTS[verdict].words}`,
    `  ${what}; ${files.length === 1 ? 'one file' : `${formatCount(files.length)} files`}, ${formatBytes(bytes)}`,
    ...(rows.length === 0 ? [] : [table(rows).replace(/^/gm, '  ')]),
    '',
  ].join('\n');
}
