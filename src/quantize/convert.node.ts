/**
 * Owns: from a Hugging Face folder to a GGUF file: what is read, what each tensor becomes, what the file says of itself.
 * Refuses to know: encoders, terminals, how files are written.
 */
import { basename, resolve } from 'node:path';
import type { DTypeName } from '../dtypes/dtype.ts';
import { HadalError } from '../error.ts';
import type { TypedValue } from '../formats/gguf/write.ts';
import { CONFIG_JSON, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON } from '../formats/hf-folder.ts';
import { closeModelFile, openWholeModel } from '../formats/open.node.ts';
import type { MetaValue, ModelFile } from '../formats/tensor-info.ts';
import type { ModelConfig } from '../model/config.ts';
import { scaleBlockOf } from '../model/config-hf.ts';
import { describeModel } from '../model/load.ts';
import { chatTemplateOfFolder, endIdsOfFolder, jsonOf } from '../runtime/hf-settings.ts';
import { ggufTokenizer } from '../tokenizer/gguf-fields.ts';
import { isQuantized } from './choose-types.ts';
import { EncodePool } from './encode-pool.node.ts';
import type { FileTypeName } from './file-types.ts';
import { folderTensors } from './folder-tensors.ts';
import { configMetadata } from './gguf-metadata.ts';
import type { SourceTensor } from './pieces.ts';
import {
  chooseFor,
  fileTypeMetadata,
  identityOf,
  inputsOf,
  plannedTensors,
  planOf,
  type QuantizeOptions,
  type QuantizePlan,
} from './quantize.node.ts';
import type { Recipe } from './recipe.ts';
import { imatrixMetadata, type NamedImatrix, weighed } from './weigh.ts';
import { type Written, writeModel } from './write-model.node.ts';

/** What to make of a folder. */
export interface ConvertRequest {
  /** A Hugging Face folder: config.json, tokenizer.json, safetensors. */
  readonly folder: string;
  readonly out: string;
  /** What the folder is in when absent; BF16 for FP8 folders. */
  readonly fileType?: FileTypeName;
  readonly overrides?: Recipe['overrides'];
  /** Of the same model, by the names that its tensors have in GGUF. */
  readonly imatrix?: NamedImatrix | undefined;
}

/**
 * Writes a folder as a GGUF file with the keys and tensor names that llama.cpp uses: latent attention split, experts
 * stacked, draft blocks kept, tokenizer and chat template included.
 *
 * @throws HadalError as `openWholeModel`, `describeModel`, `ggufTokenizer` and `writeModel` do; `tensor-unexpected`,
 *   `tensor-not-finite`, `imatrix-needed`, `imatrix-mismatch`.
 * @example await convertFolder({ folder: 'DeepSeek-V2-Lite', out: 'v2-lite.gguf', fileType: 'Q4_K_M' });
 */
export async function convertFolder(
  { folder, out, fileType: asked, overrides = [], imatrix }: ConvertRequest,
  { threads, onPlan, admit, ...options }: QuantizeOptions = {},
): Promise<Written & { readonly plan: QuantizePlan; readonly fileType: FileTypeName }> {
  const file = await openWholeModel(folder);
  try {
    await admit?.(folder, file);
    demandFolder(file, folder);
    const described = describeModel(file).config;
    const sources = folderTensors(file, described, scaleBlockOf(jsonOf(file.metadata, CONFIG_JSON), folder));
    const config = withDraftsThatAreThere(described, sources);
    const fileType = asked ?? typeOf(sources);
    const candidates = sources.map((source) => ({
      ...source,
      dtype: isQuantized(source) ? source.dtype : KEPT_AS,
    }));
    const importance = imatrix !== undefined;
    const chosen = chooseFor(config, candidates, { fileType, overrides, importance });
    const { tensors, missing } = weighed(plannedTensors(sources, chosen), imatrix, NEXT_IMATRIX);
    const plan = { ...planOf(sources, chosen), ...(missing && { withoutImportance: missing }) };
    onPlan?.(plan);
    await using pool = new EncodePool(threads);
    const metadata: [string, MetaValue | TypedValue][] = [
      ...configMetadata(config),
      ['general.type', 'model'],
      ['general.name', basename(resolve(folder))],
      ...fileTypeMetadata(fileType),
      ...(await tokenizerOf(file, folder, config.vocabSize)),
      ...(imatrix ? imatrixMetadata(imatrix) : []),
    ];
    const written = { metadata, tensors, inputs: inputsOf(file), identity: await identityOf(file) };
    return {
      ...(await writeModel(out, written, { pool, ...options })),
      plan,
      fileType,
    };
  } finally {
    await closeModelFile(file);
  }
}

const NEXT_IMATRIX =
  'give one with --imatrix; to make one, convert to BF16 or Q8_0 and run `hadal imatrix` on that';

/** Norms, routers and biases, whatever the folder has them in. */
const KEPT_AS: DTypeName = 'F32';

/** A config may speak of draft blocks that were left out of the folder; a GGUF file must not. */
function withDraftsThatAreThere(config: ModelConfig, sources: readonly SourceTensor[]): ModelConfig {
  if (sources.some(({ name }) => name.startsWith(`blk.${config.layers}.`))) return config;
  const { draftLayers: _none, ...rest } = config;
  return rest;
}

/** The type that most numbers of a folder are in. */
function typeOf(sources: readonly SourceTensor[]): FileTypeName {
  const numbers = new Map<DTypeName, number>();
  for (const { dtype, shape } of sources) {
    numbers.set(dtype, (numbers.get(dtype) ?? 0) + shape.reduce((product, length) => product * length, 1));
  }
  const [most] = [...numbers].sort(([, a], [, b]) => b - a)[0]!;
  return most === 'F32' || most === 'F16' ? most : 'BF16';
}

async function tokenizerOf(
  file: ModelFile,
  folder: string,
  vocabSize: number,
): Promise<Map<string, MetaValue>> {
  const text = file.metadata.get(TOKENIZER_JSON);
  if (typeof text !== 'string') {
    throw new HadalError('tokenizer-missing', {
      what: folder,
      expected: TOKENIZER_JSON,
      got: 'nothing there',
      next: 'fetch it: without it the model cannot read',
    });
  }
  const chatTemplate = chatTemplateOfFolder(file.metadata);
  return ggufTokenizer({
    json: JSON.parse(text),
    config: jsonOf(file.metadata, TOKENIZER_CONFIG_JSON),
    ends: endIdsOfFolder(file.metadata),
    vocabSize,
    ...(chatTemplate === undefined ? {} : { chatTemplate }),
  });
}

function demandFolder({ format, metadata }: ModelFile, folder: string): void {
  if (format === 'safetensors' && metadata.has(CONFIG_JSON)) return;
  throw new HadalError('format-unexpected', {
    what: folder,
    expected: `a folder with ${CONFIG_JSON} and safetensors files`,
    got: format === 'gguf' ? 'a GGUF file' : 'a file without its folder',
    next: format === 'gguf' ? 'it is GGUF already; to make it smaller: hadal quantize' : 'name the folder',
  });
}
