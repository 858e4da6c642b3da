/**
 * Owns: from a model file to the same model in fewer bits: what is read, what each tensor becomes, what the file says of it.
 * Refuses to know: encoders, terminals, how files are written.
 */
import { stat } from 'node:fs/promises';
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype, rowBytes } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import { type TypedValue, typed } from '../formats/gguf/write.ts';
import { closeModelFile, openModelFile, openWholeModel } from '../formats/open.node.ts';
import type { MetaValue, ModelFile } from '../formats/tensor-info.ts';
import type { ModelConfig } from '../model/config.ts';
import { describeModel } from '../model/load.ts';
import { type Candidate, type Chosen, chooseTypes, isQuantized } from './choose-types.ts';
import { EncodePool } from './encode-pool.node.ts';
import { FILE_TYPES, type FileTypeName } from './file-types.ts';
import { plainTensor, type SourceTensor } from './pieces.ts';
import type { Recipe } from './recipe.ts';
import { imatrixMetadata, type NamedImatrix, weighed } from './weigh.ts';
import { type PlannedTensor, type WriteOptions, type Written, writeModel } from './write-model.node.ts';

/** What to make of a model. */
export interface QuantizeRequest {
  /** A GGUF file; of shards, any one. */
  readonly path: string;
  readonly out: string;
  readonly fileType: FileTypeName;
  readonly overrides?: Recipe['overrides'];
  /** How much an error in each column weighs, and the file that says so. */
  readonly imatrix?: NamedImatrix | undefined;
  /** Quantize what is quantized already; refused otherwise, since it costs more than quantizing the original. */
  readonly requantize?: boolean;
}

/** Options of {@link quantizeFile}. */
export interface QuantizeOptions extends Omit<WriteOptions, 'pool'> {
  readonly threads?: number;
  /** Told before anything is written. */
  readonly onPlan?: (plan: QuantizePlan) => void;
  /** Refuses a model, by throwing, before anything but its headers is read; what it was shown is what is read then. */
  readonly admit?: (path: string, file: ModelFile) => Promise<void>;
}

/** What is going to be written. */
export interface QuantizePlan {
  readonly tensors: readonly { readonly name: string; readonly from: DTypeName; readonly chosen: Chosen }[];
  readonly beforeBytes: number;
  readonly afterBytes: number;
  /** Bits for each number of a quantized tensor, over all of them. */
  readonly bitsPerWeight: number;
  /** Quantized tensors that the importance matrix says nothing of; absent without one. */
  readonly withoutImportance?: readonly string[];
}

/**
 * Writes a GGUF model in another type.
 *
 * @throws HadalError as `openWholeModel`, `describeModel` and `writeModel` do; `requantize` for a model that is quantized
 *   already; `tensor-not-finite`; `imatrix-mismatch` for the importance matrix of another model;
 *   `imatrix-needed` for types of about two bits without one.
 * @example await quantizeFile({ path: 'v2-lite-bf16.gguf', out: 'v2-lite-q4_k_m.gguf', fileType: 'Q4_K_M' });
 */
export async function quantizeFile(
  { out, imatrix, ...request }: QuantizeRequest,
  { threads, onPlan, admit, ...options }: QuantizeOptions = {},
): Promise<Written & { readonly plan: QuantizePlan }> {
  const { path, fileType } = request;
  const file = await openWholeModel(path);
  try {
    await admit?.(path, file);
    const { tensors, plan } = planFile(file, { ...request, imatrix });
    onPlan?.(plan);
    await using pool = new EncodePool(threads);
    const written = await writeModel(
      out,
      {
        metadata: [...metadataOf(file, fileType), ...(imatrix ? imatrixMetadata(imatrix) : [])],
        tensors,
        inputs: inputsOf(file),
        identity: await identityOf(file),
      },
      { pool, ...options },
    );
    return { ...written, plan };
  } finally {
    await closeModelFile(file);
  }
}

/**
 * Refuses, as {@link quantizeFile} does, types that a model cannot be written in: before anything is measured or written.
 *
 * @throws HadalError as `quantizeFile` does, but for those of writing and of numbers
 * @example await demandTypes('v2-lite-bf16.gguf', ['Q4_K_M', 'IQ2_XS'], { imatrix });
 */
export async function demandTypes(
  path: string,
  types: readonly FileTypeName[],
  { admit, ...asked }: Pick<QuantizeRequest, 'imatrix' | 'requantize'> & Pick<QuantizeOptions, 'admit'>,
): Promise<void> {
  const file = await openWholeModel(path);
  try {
    await admit?.(path, file);
    for (const fileType of types) planFile(file, { path, fileType, ...asked });
  } finally {
    await closeModelFile(file);
  }
}

/** What each tensor becomes, with its importance, and the figures. */
function planFile(
  file: ModelFile,
  { path, fileType, overrides = [], requantize = false, imatrix }: Omit<QuantizeRequest, 'out'>,
): { readonly tensors: readonly PlannedTensor[]; readonly plan: QuantizePlan } {
  demandGguf(file, path);
  const { config } = describeModel(file);
  const sources = [...file.tensors.values()].map((info) => plainTensor(file, info));
  const chosen = chooseFor(config, sources, { fileType, overrides, importance: imatrix !== undefined });
  if (!requantize) refuseQuantized(sources, chosen, path);
  const { tensors, missing } = weighed(plannedTensors(sources, chosen), imatrix, NEXT_IMATRIX);
  return { tensors, plan: { ...planOf(sources, chosen), ...(missing && { withoutImportance: missing }) } };
}

const NEXT_IMATRIX = 'make one with `hadal imatrix` and give it: --imatrix';

/**
 * The types of a model's tensors, by what the model is.
 *
 * @example chooseFor(config, sources, { fileType: 'Q4_K_M', overrides: [], importance: false })
 */
export function chooseFor(
  { layers, draftLayers = 0, attention, experts }: ModelConfig,
  tensors: readonly Candidate[],
  asked: {
    readonly fileType: FileTypeName;
    readonly overrides: Recipe['overrides'];
    readonly importance: boolean;
  },
): ReadonlyMap<string, Chosen> {
  const { heads } = attention;
  // A split latent file says one key head; a merged one as many as there are query heads.
  const split = tensors.some(({ name }) => name.endsWith('attn_k_b.weight'));
  const kvHeads = attention.kind === 'grouped' ? attention.kvHeads : split ? 1 : heads;
  return chooseTypes(tensors, {
    ...asked,
    layers: layers + draftLayers,
    groupSize: heads / kvHeads,
    experts: experts?.experts ?? 0,
  });
}

/** Tensors with what they become, in the order that they have. */
export function plannedTensors(
  sources: readonly SourceTensor[],
  chosen: ReadonlyMap<string, Chosen>,
): PlannedTensor[] {
  return sources.map((source) => {
    const { name, shape } = source;
    return { name, shape, dtype: chosen.get(name)!.type, source };
  });
}

/** The figures of a choice. */
export function planOf(sources: readonly SourceTensor[], chosen: ReadonlyMap<string, Chosen>): QuantizePlan {
  const bytes = (type: DTypeName, [cols = 1, ...more]: readonly number[]) =>
    rowBytes(type, cols) * more.reduce((product, length) => product * length, 1);
  let beforeBytes = 0;
  let afterBytes = 0;
  let numbers = 0;
  for (const { name, shape, dtype: from } of sources) {
    beforeBytes += bytes(from, shape);
    afterBytes += bytes(chosen.get(name)!.type, shape);
    numbers += shape.reduce((product, length) => product * length, 1);
  }
  return {
    tensors: sources.map(({ name, dtype: from }) => ({ name, from, chosen: chosen.get(name)! })),
    beforeBytes,
    afterBytes,
    bitsPerWeight: (afterBytes * 8) / numbers,
  };
}

/** Refuses anything but GGUF. Throws `format-unexpected`. Example: `demandGguf(file, path)` */
export function demandGguf({ format }: ModelFile, path: string): void {
  if (format === 'gguf') return;
  throw new HadalError('format-unexpected', {
    what: path,
    expected: 'a GGUF file',
    got: format,
    next: 'convert it first: `hadal convert`, which also quantizes (`--to`)',
  });
}

function refuseQuantized(
  sources: readonly SourceTensor[],
  chosen: ReadonlyMap<string, Chosen>,
  path: string,
): void {
  const found = sources.find(
    (source) =>
      isQuantized(source) &&
      dtype(source.dtype).blockElements > 1 &&
      chosen.get(source.name)!.type !== source.dtype,
  );
  if (found === undefined) return;
  throw new HadalError('requantize', {
    what: path,
    expected: 'a model in F32, F16 or BF16',
    got: `${found.name} in ${found.dtype}`,
    next: 'start from the original, or accept what a second rounding costs: --requantize',
  });
}

function metadataOf(file: ModelFile, fileType: FileTypeName): [string, MetaValue | TypedValue][] {
  const entries = [...file.metadata].filter(
    ([key]) => !key.startsWith('split.') && !key.startsWith('quantize.imatrix.') && !REPLACED.has(key),
  );
  return [
    ...entries.map(([key, value]): [string, MetaValue | TypedValue] => {
      const type = file.metadataTypes?.get(key);
      return [key, type === undefined ? value : typed(type, value)];
    }),
    ...fileTypeMetadata(fileType),
  ];
}

const REPLACED = new Set(['general.file_type', 'general.quantization_version', 'general.alignment']);

/** What a file says of its own type. */
export function fileTypeMetadata(fileType: FileTypeName): [string, TypedValue][] {
  return [
    ['general.quantization_version', typed('u32', 2)],
    ['general.file_type', typed('u32', FILE_TYPES[fileType].number)],
  ];
}

/** The files that a model is read from. Example: `inputsOf(file) // ['v2-lite-bf16.gguf']` */
export function inputsOf({ sources }: ModelFile): string[] {
  return sources.flatMap(({ path }) => path ?? []);
}

/**
 * Which file or folder a model is, without reading it: another one under the same name has another identity.
 *
 * @throws HadalError as `openModelFile` does
 * @example await modelIdentity('v2-lite-q4_k_m.gguf')
 */
export async function modelIdentity(path: string): Promise<string> {
  const file = await openModelFile(path);
  try {
    return await identityOf(file);
  } finally {
    await closeModelFile(file);
  }
}

/** Names, sizes and times of the inputs. */
export async function identityOf({ sources }: ModelFile): Promise<string> {
  const facts = await Promise.all(
    sources.map(async ({ path, name, size }) => {
      const changed = path === undefined ? 0 : (await stat(path)).mtimeMs;
      return [name, size, changed];
    }),
  );
  return JSON.stringify(facts);
}
