/**
 * Owns: what a pre-training run takes: operations, GPU hours, money, beside the hours that V2 and V3 published.
 * Refuses to know: optimisers, data, machines at hand.
 *
 * Source: DeepSeek-V2 (arXiv 2405.04434) and DeepSeek-V3 (arXiv 2412.19437, table 1). Operations of a token: 6 for every
 * number that it is multiplied with (2 forward, 4 backward), and 6 for every number of the attention over half the
 * sequence, as in PaLM (arXiv 2204.02311, appendix B).
 */
import { z } from 'zod';
import { HadalError } from '../error.ts';
import { type FamilyModel, findInFamily, type Native } from '../hub/family.ts';
import { findGpu, type GpuEntry } from './machine.ts';
import { multiplyAddsPerToken, parameters, subjectOf } from './subject.ts';

/** What is asked. */
export interface TrainingQuestion {
  readonly model: FamilyModel;
  readonly tokens: number;
  readonly sequenceTokens: number;
  readonly gpu: GpuEntry;
  readonly family: readonly FamilyModel[];
  readonly gpus: readonly GpuEntry[];
  /** Of one GPU for an hour. */
  readonly hourPrice: number;
  /** The part of the GPU's dense 16-bit rate that is reached; the published runs' when absent. */
  readonly utilisation?: number;
}

/** The estimate, and where its utilisation comes from. */
export interface TrainingEstimate {
  readonly flopsPerToken: number;
  readonly flops: number;
  readonly gpuHours: number;
  readonly cost: number;
  readonly utilisation: number;
  readonly source: string;
}

/** A run whose hours were published. */
export interface PublishedRun {
  readonly name: string;
  readonly model: string;
  readonly gpu: string;
  readonly tokens: number;
  readonly sequenceTokens: number;
  /** Of pre-training alone. */
  readonly gpuHours: number;
}

/** Pre-training alone: context extension (119K hours) and post-training (5K) of V3 come on top. */
export const PUBLISHED_RUNS: readonly PublishedRun[] = [
  {
    name: 'DeepSeek-V3',
    model: 'deepseek-v3',
    gpu: 'H800',
    tokens: 14.8e12,
    sequenceTokens: 4096,
    gpuHours: 2_664_000,
  },
  {
    name: 'DeepSeek-V2',
    model: 'deepseek-v2',
    gpu: 'H800',
    tokens: 8.1e12,
    sequenceTokens: 4096,
    // 172.8 thousand hours for each trillion tokens.
    gpuHours: 172_800 * 8.1,
  },
];

/**
 * A model that nobody has published yet, by its config.json: for what its training would take.
 *
 * @throws HadalError `config-broken` when it is no JSON object, and `config-*` when it contradicts itself
 * @example estimateTraining({ ...question, model: modelOfConfig(await textFile('config.json'), 'config.json') })
 */
export function modelOfConfig(text: string, path: string): FamilyModel {
  const parsed = configSchema.safeParse(text);
  if (!parsed.success) {
    throw new HadalError('config-broken', {
      what: path,
      expected: 'a config.json of Hugging Face',
      got: 'something else',
      next: 'name the file, or the folder that it is in',
    });
  }
  const config = parsed.data;
  const fp8 = fp8Schema.safeParse(config.quantization_config);
  const native: Native = fp8.success
    ? { kind: 'fp8', block: fp8.data.weight_block_size, scale: 'F32' }
    : { kind: 'bf16' };
  const of = (count: number): FamilyModel => {
    const shape = { config, native, parameters: count };
    return {
      name: path,
      title: path,
      repo: path,
      shape,
      alike: path,
      kind: 'base',
      generation: 0,
      license: 'not said',
    };
  };
  return of(parameters(subjectOf(of(1), 'native')));
}

const configSchema = z
  .string()
  .transform((text, { addIssue }) => {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      addIssue('no JSON');
      return z.NEVER;
    }
  })
  .pipe(z.record(z.string(), z.unknown()));

const fp8Schema = z.object({
  quant_method: z.literal('fp8'),
  weight_block_size: z.tuple([z.int().min(1), z.int().min(1)]),
});

/**
 * What a run takes.
 *
 * @example estimateTraining({ model, tokens: 14.8e12, sequenceTokens: 4096, gpu, hourPrice: 2 }).gpuHours
 */
export function estimateTraining(question: TrainingQuestion): TrainingEstimate {
  const { model, tokens, sequenceTokens, gpu, hourPrice } = question;
  const { utilisation, source } =
    question.utilisation === undefined
      ? publishedUtilisation(question)
      : { utilisation: question.utilisation, source: 'as given' };
  const flopsPerToken = trainingFlopsPerToken(model, sequenceTokens);
  const flops = flopsPerToken * tokens;
  const gpuHours = flops / (gpu.tflops * 1e12 * utilisation) / 3600;
  return { flopsPerToken, flops, gpuHours, cost: gpuHours * hourPrice, utilisation, source };
}

/**
 * Operations of one token, forward and backward.
 *
 * @example trainingFlopsPerToken(findInFamily(readFamily(), 'v3'), 4096) / 6 / 37e9
 */
export function trainingFlopsPerToken(model: FamilyModel, sequenceTokens: number): number {
  const subject = subjectOf(model, 'native');
  // Half the sequence is attended to on average.
  return 6 * (multiplyAddsPerToken(subject) + (subject.attentionWidth * sequenceTokens) / 2);
}

/** The utilisation that a published run reached by this arithmetic. Example: `utilisationOf(PUBLISHED_RUNS[0], readFamily(), readGpuTable()) // 0.39`. */
export function utilisationOf(
  run: PublishedRun,
  family: readonly FamilyModel[],
  gpus: readonly GpuEntry[],
): number {
  const model = findInFamily(family, run.model);
  const gpu = findGpu(gpus, run.gpu);
  const flops = trainingFlopsPerToken(model, run.sequenceTokens) * run.tokens;
  return flops / (gpu.tflops * 1e12) / (run.gpuHours * 3600);
}

/** Weights of 8 bits were trained as V3 was, others as V2 was. */
function publishedUtilisation({ model, family, gpus }: TrainingQuestion) {
  const run = PUBLISHED_RUNS[model.shape.native.kind === 'fp8' ? 0 : 1]!;
  return {
    utilisation: utilisationOf(run, family, gpus),
    source: `what the published ${Math.round(run.gpuHours).toLocaleString('en-US')} ${run.gpu} hours of ${run.name} come to, of the dense 16-bit rate`,
  };
}
