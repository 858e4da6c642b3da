/**
 * Owns: `hadal show`: what is known of a model: on disk, or of the published family.
 * Refuses to know: what is inside a file (inspect), whether it fits (plan).
 */
import { defineCommand } from 'citty';
import { type CatalogueModel, findModel, type ModelSource, readCatalogue } from '../hub/catalogue.ts';
import { type FamilyModel, findInFamily, readFamily } from '../hub/family.ts';
import { type StoredModel, storedModel, storedModels } from '../hub/inventory.node.ts';
import { OFFERED } from '../planner/plan.ts';
import { subjectOf, weightBytes } from '../planner/subject.ts';
import { readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { formatBytes, formatCount, table } from './figures.ts';

export const text: CommandText = {
  usage: 'show MODEL',
  examples: ['hadal show smollm2-135m', 'hadal show deepseek-r1', 'hadal show r1-distill-qwen-14b --json'],
};

export const command = defineCommand({
  meta: { name: 'show', description: 'show what is known of a model, on disk or published' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a name of `hadal list`, or of a published model',
    },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const { terminal, env } = data as Surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    const name = given.word(0, 'MODEL', `hadal ${text.usage}`);
    const known = findModel(readCatalogue(), name);
    const wanted = (known?.name ?? name).toLowerCase();
    const here = (await storedModels(env)).some((model) => model.name.toLowerCase() === wanted);
    if (here) {
      const model = await storedModel(wanted, env);
      if (given.has('json')) terminal.json(model);
      else terminal.out(storedText(model));
      return;
    }
    if (known !== undefined) {
      if (given.has('json')) terminal.json(known);
      else terminal.out(catalogueText(known));
      return;
    }
    const model = findInFamily(readFamily(), name);
    if (given.has('json')) terminal.json({ ...model, sizes: Object.fromEntries(sizesOf(model)) });
    else terminal.out(familyText(model));
  },
});

function storedText({ name, path, bytes, files, commit }: StoredModel): string {
  return `${table([
    ['model', name],
    ['path', path],
    [
      'size',
      `${formatBytes(bytes)} in ${formatCount(files.length)} ${files.length === 1 ? 'file' : 'files'}`,
    ],
    ...(commit === undefined ? [] : [['commit', commit]]),
    ['more', `hadal inspect ${path}`],
  ])}\n`;
}

function catalogueText({ name, title, license, bytes, sha256, sources }: CatalogueModel): string {
  return `${table([
    ['model', title],
    ['license', license],
    ['size', formatBytes(bytes)],
    ['sha256', sha256],
    ...sources.map((source, i) => [i === 0 ? 'from' : '', sourceTitle(source)]),
    ['more', `hadal pull ${name}`],
  ])}\n`;
}

function sourceTitle(source: ModelSource): string {
  return source.kind === 'pypi' ? `pypi:${source.package}==${source.version}` : source.repo;
}

function familyText(model: FamilyModel): string {
  const { parameters, active_parameters: active } = model.shape;
  const billions = (count: number) => `${formatCount(Math.round(count / 1e8) / 10)} billion`;
  return `${table([
    ['model', model.title],
    ['kind', model.note ?? model.kind],
    ['numbers', `${billions(parameters)}${active === undefined ? '' : `, ${billions(active)} active`}`],
    ['license', model.license],
    ['published', model.repo],
    ...(model.gguf === undefined ? [] : [['quantized', model.gguf]]),
    ...sizesOf(model).map(([name, bytes], i) => [
      i === 0 ? 'sizes' : '',
      `${name.padEnd(8)} ${formatBytes(bytes)}`,
    ]),
    ['more', `hadal plan ${model.name}, hadal pull ${model.name}`],
  ])}\n`;
}

function sizesOf(model: FamilyModel): [string, number][] {
  return OFFERED.map((quantization) => [quantization, weightBytes(subjectOf(model, quantization))]);
}
