/**
 * Owns: `hadal plan --cost` and `--training`: reading what was given, and showing what comes of it.
 * Refuses to know: how it is reckoned.
 */
import type { FamilyModel } from '../hub/family.ts';
import { type CostAnswer, compareCost } from '../planner/cost.ts';
import { ENGINE_TITLES } from '../planner/engines.ts';
import { findGpu, type GpuEntry } from '../planner/machine.ts';
import type { ModelPlan } from '../planner/plan.ts';
import {
  estimateTraining,
  PUBLISHED_RUNS,
  type TrainingEstimate,
  trainingFlopsPerToken,
  utilisationOf,
} from '../planner/training.ts';
import { usageError } from './exit-codes.ts';
import { digits, formatCount, table } from './figures.ts';

/** What `--cost` takes, and what holds where it is not said. */
const COST = {
  'input-price': undefined,
  'output-price': undefined,
  'input-tokens': undefined,
  'output-tokens': undefined,
  'machine-price': undefined,
  months: '36',
  watts: '400',
  'kwh-price': '0.3',
  batch: '1',
};

/** What `--training` takes. */
const TRAINING = {
  tokens: undefined,
  sequence: '4096',
  gpu: 'H800',
  'hour-price': '2',
  utilisation: '',
};

/**
 * The comparison with a hosted API for the fastest way of a plan.
 *
 * @throws HadalError `usage`, `cost-impossible`
 * @example costOf('input-price=0.27,output-price=1.1,…', plan);
 */
export function costOf(text: string, plan: ModelPlan): CostAnswer {
  const given = pairsOf('--cost', text, COST);
  const [way] = plan.ways;
  if (way === undefined)
    throw usageError({
      what: '--cost',
      expected: 'a model that fits',
      got: 'one that does not',
      next: `hadal plan ${plan.subject.name} without it says what to change`,
    });
  const number = (key: keyof typeof COST) => numberOf('--cost', key, given[key]);
  return compareCost({
    inputPrice: number('input-price'),
    outputPrice: number('output-price'),
    inputTokens: number('input-tokens'),
    outputTokens: number('output-tokens'),
    machinePrice: number('machine-price'),
    months: number('months'),
    watts: number('watts'),
    kilowattHourPrice: number('kwh-price'),
    batchGain: number('batch'),
    by: `${ENGINE_TITLES[way.engine]} with ${plan.subject.title} in ${plan.subject.format}`,
    decodePerSecond: way.decode.tokensPerSecond,
    prefillPerSecond: way.prefill.tokensPerSecond,
  });
}

/** The comparison for people. Example: `terminal.out(costReport(answer))`. */
export function costReport({
  hosted,
  own,
  busyHours,
  busyShare,
  machines,
  evenAt,
  assumptions,
}: CostAnswer): string {
  const rows = [
    ['hosted API', `${money(hosted)} a month`],
    [
      'here',
      `${money(own.total)} a month: ${money(own.machine)} for ${machines === 1 ? 'the machine' : `${formatCount(machines)} machines`}, ${money(own.power)} for power`,
    ],
    ['work', `${digits(busyHours)} hours a month, ${digits(busyShare * 100)} % of the time`],
    [
      'even',
      evenAt === undefined
        ? 'never: power alone costs more than the API'
        : `at ${digits(evenAt)} times this traffic`,
    ],
    ...assumptions.map((sentence, i) => [i === 0 ? 'assumed' : '', sentence]),
  ];
  return `\nCost\n${table(rows).replace(/^/gm, '  ')}\n`;
}

/** A training run, and the published ones by the same arithmetic. */
export interface TrainingReport extends TrainingEstimate {
  readonly model: string;
  readonly gpu: string;
  readonly tokens: number;
  readonly published: readonly {
    readonly name: string;
    readonly gpuHours: number;
    /** What its hours come to. */
    readonly utilisation: number;
    /** Its hours at the utilisation that is assumed here. */
    readonly estimatedGpuHours: number;
  }[];
}

/**
 * What pre-training a model takes.
 *
 * @throws HadalError `usage`, `gpu-unknown`
 * @example trainingOf('tokens=14.8e12', model, readFamily(), readGpuTable());
 */
export function trainingOf(
  text: string,
  model: FamilyModel,
  family: readonly FamilyModel[],
  gpus: readonly GpuEntry[],
): TrainingReport {
  const given = pairsOf('--training', text, TRAINING);
  const number = (key: keyof typeof TRAINING) => numberOf('--training', key, given[key]);
  const gpu = findGpu(gpus, given.gpu);
  const tokens = number('tokens');
  const estimate = estimateTraining({
    model,
    family,
    gpus,
    gpu,
    tokens,
    sequenceTokens: number('sequence'),
    hourPrice: number('hour-price'),
    ...(given.utilisation === '' ? {} : { utilisation: utilisationOfText(given.utilisation) }),
  });
  const published = PUBLISHED_RUNS.map((run) => {
    const of = family.find(({ name }) => name === run.model);
    const flops = of === undefined ? 0 : trainingFlopsPerToken(of, run.sequenceTokens) * run.tokens;
    return {
      name: run.name,
      gpuHours: run.gpuHours,
      utilisation: utilisationOf(run, family, gpus),
      estimatedGpuHours: flops / (findGpu(gpus, run.gpu).tflops * 1e12 * estimate.utilisation) / 3600,
    };
  });
  return { model: model.title, gpu: gpu.name, tokens, ...estimate, published };
}

/** The run for people. Example: `terminal.out(trainingReport(report))`. */
export function trainingReport(of: TrainingReport): string {
  const hours = (count: number) => `${formatCount(Math.round(count))} hours`;
  return `${table([
    ['model', `${of.model}, ${digits(of.tokens / 1e12)} trillion tokens`],
    ['operations', `${of.flops.toExponential(2)}, ${of.flopsPerToken.toExponential(2)} for each token`],
    ['GPU hours', `${hours(of.gpuHours)} of ${of.gpu}, pre-training alone`],
    ['money', money(of.cost)],
    ['utilisation', `${digits(of.utilisation * 100)} %: ${of.source}`],
    ...of.published.map(({ name, gpuHours, utilisation, estimatedGpuHours }) => [
      name,
      `published ${hours(gpuHours)}, which is ${digits(utilisation * 100)} %; by this utilisation ${hours(estimatedGpuHours)}`,
    ]),
  ])}\n`;
}

type Pairs<Keys extends string> = Readonly<Record<Keys, string>>;

/** `key=value,key=value`, every key known and given once; what has no default must be given. */
function pairsOf<Keys extends string>(
  flag: string,
  text: string,
  known: Readonly<Record<Keys, string | undefined>>,
): Pairs<Keys> {
  const keys = Object.keys(known) as Keys[];
  const found = new Map<string, string>();
  for (const pair of text.split(',')) {
    const [key = '', value] = pair.split('=').map((part) => part.trim());
    if (!keys.includes(key as Keys) || value === undefined || found.has(key)) {
      throw usageError({
        what: flag,
        expected: `KEY=NUMBER with commas between: ${keys.join(', ')}`,
        got: JSON.stringify(pair),
      });
    }
    found.set(key, value);
  }
  const missing = keys.filter((key) => known[key] === undefined && !found.has(key));
  if (missing.length > 0)
    throw usageError({ what: flag, expected: missing.join(', '), got: 'nothing of that name' });
  return Object.fromEntries(keys.map((key) => [key, found.get(key) ?? known[key] ?? ''])) as Pairs<Keys>;
}

function numberOf(flag: string, key: string, text: string): number {
  const number = text === '' ? Number.NaN : Number(text);
  if (Number.isFinite(number) && number > 0) return number;
  throw usageError({ what: `${flag} ${key}`, expected: 'a number above 0', got: JSON.stringify(text) });
}

function utilisationOfText(text: string): number {
  const number = numberOf('--training', 'utilisation', text);
  if (number <= 1) return number;
  throw usageError({
    what: '--training utilisation',
    expected: 'a part of the rate, above 0 and at most 1',
    got: text,
    ...(number <= 100 ? { next: `${number} % is utilisation=${number / 100}` } : {}),
  });
}

function money(amount: number): string {
  return amount >= 100 ? formatCount(Math.round(amount)) : amount.toFixed(2);
}
