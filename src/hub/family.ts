/**
 * Owns: the published DeepSeek models (family.json): its schema, its strict reader, finding one by a name somebody typed.
 * Refuses to know: what tensors a shape has, machines, what is on disk.
 */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { nearest } from './nearest.ts';

const block = z.tuple([z.int().min(1), z.int().min(1)]);

/** How a model's weights are published. */
const nativeSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('bf16') }),
  z.strictObject({
    kind: z.literal('fp8'),
    block: block.describe('rows and columns that share a scale'),
    scale: z.enum(['F32', 'F8_E8M0']),
    experts: z.literal('fp4').optional().describe('routed experts in 4 bits, a scale for every 32'),
  }),
]);

const shapeSchema = z.strictObject({
  config: z
    .record(z.string(), z.unknown())
    .describe('the fields of config.json that say how large things are'),
  native: nativeSchema,
  parameters: z.number().min(1).describe('as published'),
  active_parameters: z.number().min(1).optional().describe('as published, of a model with experts'),
  draft_parameters: z
    .number()
    .min(1)
    .optional()
    .describe('of blocks that predict further tokens, as published'),
  unverified: z.literal(true).optional().describe('a size of the shape is derived, not read from a file'),
});

const modelSchema = z.strictObject({
  name: z.string().regex(/^[a-z0-9][a-z0-9.-]*$/),
  aliases: z.array(z.string().regex(/^[a-z0-9][a-z0-9.-]*$/)).optional(),
  title: z.string().min(1),
  repo: z
    .string()
    .regex(/^[\w.-]+\/[\w.-]+$/)
    .describe('on the Hugging Face hub'),
  gguf: z
    .string()
    .regex(/^[\w.-]+\/[\w.-]+$/)
    .optional()
    .describe('a repository of quantized files'),
  shape: z.string(),
  config: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('fields of config.json in which it differs from its shape; sizes stay the same'),
  kind: z
    .enum(['chat', 'reasoning', 'code', 'math', 'vision', 'task', 'base', 'distill'])
    .describe('`task`: trained for one, as translating'),
  generation: z.number().describe('orders models of a family; a later one is preferred'),
  license: z.string().min(1),
  engines: z
    .array(z.enum(['llama.cpp', 'vllm', 'sglang']))
    .optional()
    .describe('which others run it, where not all of them do'),
  also: z.strictObject({ what: z.string(), parameters: z.number().min(1) }).optional(),
  note: z.string().optional(),
});

const familySchema = z.strictObject({
  sources: z.array(z.string().min(1)).min(1),
  shapes: z.record(z.string(), shapeSchema),
  models: z.array(modelSchema),
});

/** How a model's weights are published. */
export type Native = z.output<typeof nativeSchema>;

/** The sizes that several models have in common. */
export type Shape = z.output<typeof shapeSchema>;

/** One published model. */
export interface FamilyModel extends Omit<z.output<typeof modelSchema>, 'shape' | 'config'> {
  readonly shape: Shape;
  /** The same for models of the same tensors. */
  readonly alike: string;
}

/**
 * The family that ships with the package.
 *
 * @throws HadalError `catalogue-broken`
 * @example readFamily().find(({ name }) => name === 'deepseek-v3');
 */
export function readFamily(): readonly FamilyModel[] {
  return parseFamily(JSON.parse(readFileSync(new URL('./family.json', import.meta.url), 'utf8')));
}

/**
 * Checks a family as parsed from JSON.
 *
 * @throws HadalError `catalogue-broken`, naming the field.
 * @example parseFamily({ sources: ['…'], shapes: {}, models: [] }); // []
 */
export function parseFamily(json: unknown): readonly FamilyModel[] {
  const result = familySchema.safeParse(json);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw broken(issue?.path.join('.') ?? '', issue?.message ?? 'something else');
  }
  const { shapes, models } = result.data;
  const names = models.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw broken(`the name "${twice}"`, 'it twice');
  return models.map(({ shape: of, config = {}, ...model }) => {
    const common = shapes[of];
    if (common === undefined) throw broken(`shape of ${model.name}`, of);
    return { ...model, shape: { ...common, config: { ...common.config, ...config } }, alike: of };
  });
}

/**
 * The schema of family.json as JSON Schema.
 *
 * @example writeFileSync('family.schema.json', JSON.stringify(familyJsonSchema()));
 */
export function familyJsonSchema(): object {
  return z.toJSONSchema(familySchema, { target: 'draft-2020-12' });
}

/**
 * A model by its name, an alias or a repository of its files, whatever the case. Throws `model-unknown` with the true names.
 *
 * @example findInFamily(readFamily(), 'R1').title // 'DeepSeek-R1'
 */
export function findInFamily(models: readonly FamilyModel[], name: string): FamilyModel {
  const wanted = name.toLowerCase();
  const found = models.find(
    (model) =>
      isNamed(model, wanted) || model.repo.toLowerCase() === wanted || model.gguf?.toLowerCase() === wanted,
  );
  if (found !== undefined) return found;
  throw unknown(models, name, wanted);
}

function isNamed({ name, aliases }: FamilyModel, wanted: string): boolean {
  return name === wanted || aliases?.includes(wanted) === true;
}

/**
 * Refuses `r1:7b`, as other tools name a distill: what is behind the colon is a quantization here. Throws
 * `model-unknown` with the true names.
 *
 * @example refuseSize(readFamily(), 'deepseek-r1:7b'); // did you mean deepseek-r1-distill-qwen-7b?
 */
export function refuseSize(models: readonly FamilyModel[], text: string): void {
  const tag = /^([^/:]+):(?:latest|(\d+(?:\.\d+)?)b(?:-.*)?)$/.exec(text.toLowerCase());
  if (tag === null) return;
  const [, name = '', size] = tag;
  const exact = models.find((one) => isNamed(one, name));
  const begins = `${exact?.name ?? name}-`;
  const kin = models.filter((one) => one.name.startsWith(begins));
  if (exact === undefined && kin.length === 0) return;
  const ofSize = ({ shape }: FamilyModel) => Math.abs(shape.parameters / 1e9 / Number(size) - 1) < 0.1;
  const meant = [
    kin.filter((one) => size !== undefined && `${one.name}-`.includes(`-${size}b-`)),
    exact === undefined || (size !== undefined && !ofSize(exact)) ? [] : [exact],
    kin.filter(ofSize),
    exact === undefined ? kin : [exact],
  ].find((some) => some.length > 0);
  throw notThere(
    text,
    (meant ?? []).map((one) => one.name),
  );
}

/** "deepseek-r1-14b" names no model: what people mean is the distill of that size. */
function unknown(models: readonly FamilyModel[], name: string, wanted: string): HadalError {
  const size = /(?<![\d.])(\d+(?:\.\d+)?)b\b/.exec(wanted)?.[1];
  const ofSize = size === undefined ? [] : models.filter((model) => model.name.includes(`-${size}b`));
  const before = wanted.slice(0, Math.max(0, wanted.indexOf(`-${size}b`)));
  const ofName = before === '' ? [] : ofSize.filter((model) => model.name.startsWith(before));
  const sized = ofName.length > 0 ? ofName : ofSize;
  const names = models.flatMap((model) => [model.name, ...(model.aliases ?? [])]);
  const guess = nearest(wanted, names);
  const same = models.filter((model) => model.name === wanted);
  const parts = same.length > 0 ? same : models.filter((model) => model.name.includes(wanted));
  const meant = sized.length > 0 ? sized : parts;
  return notThere(name, meant.length > 0 ? meant.map((model) => model.name) : guess ? [guess] : []);
}

function notThere(name: string, near: readonly string[]): HadalError {
  return new HadalError('model-unknown', {
    what: name,
    expected: 'a published DeepSeek model, a file or a folder',
    got: 'none of these',
    next:
      near.length > 0
        ? `did you mean ${near.slice(0, MOST_NAMED).join(' or ')}?`
        : '`hadal plan` lists the models that fit this machine, `hadal plan --all` every one',
  });
}

/** True names that are said when a name is none: there are six distills of R1. */
const MOST_NAMED = 6;

/**
 * Where the files of a model of the family are: its repository as published, or one of quantized files; undefined when the
 * name is none of the family.
 *
 * @throws HadalError `quantization-needed` when a quantization is asked for and no repository with it is known;
 *   as {@link refuseSize}.
 * @example familyReference(readFamily(), 'r1:Q4_K_M') // 'unsloth/DeepSeek-R1-GGUF:Q4_K_M'
 */
export function familyReference(models: readonly FamilyModel[], text: string): string | undefined {
  refuseSize(models, text);
  const [name = '', quantization] = text.toLowerCase().split(':');
  const model = models.find((one) => isNamed(one, name));
  if (model === undefined) return undefined;
  const { repo, gguf } = model;
  if (quantization === 'native' || (quantization === undefined && gguf === undefined)) return repo;
  if (gguf !== undefined) return `${gguf}:${quantization?.toUpperCase() ?? USUAL_QUANTIZATION}`;
  throw new HadalError('quantization-needed', {
    what: `${model.title} in ${quantization?.toUpperCase()}`,
    expected: 'a known repository of quantized files',
    got: 'none',
    next: `name one (hadal pull USER/REPO:${quantization?.toUpperCase()}), or take it as published: hadal pull ${repo}`,
  });
}

const USUAL_QUANTIZATION = 'Q4_K_M';

function broken(what: string, got: string): HadalError {
  return new HadalError('catalogue-broken', {
    what: `family.json, ${what}`,
    expected: 'JSON of its schema',
    got,
    next: 'install the package again',
  });
}
