/**
 * Owns: `hadal plan`: its words and flags.
 * Refuses to know: how anything is planned, how a plan is shown.
 */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { defineCommand } from 'citty';
import type { CacheDType } from '../backend/backend.ts';
import { CONFIG_JSON } from '../formats/hf-folder.ts';
import { closeModelFile, openModelFile } from '../formats/open.node.ts';
import { findModel, readCatalogue } from '../hub/catalogue.ts';
import { type FamilyModel, findInFamily, readFamily, refuseSize } from '../hub/family.ts';
import { resolveModel } from '../hub/fetch.node.ts';
import { type Machine, machineJsonSchema, readGpuTable, readMachine } from '../planner/machine.ts';
import {
  bestPlan,
  type ModelPlan,
  OFFERED,
  onlyTooSmall,
  type PlanRequest,
  planFamily,
  planModel,
  waysToFit,
} from '../planner/plan.ts';
import { probeMachine } from '../planner/probe.ts';
import { type Quantization, subjectOf, subjectOfFile } from '../planner/subject.ts';
import { modelOfConfig } from '../planner/training.ts';
import { FILE_TYPE_NAMES, fileTypeNamed } from '../quantize/file-types.ts';
import { type Arguments, readArguments } from './arguments.ts';
import type { CommandText, Surroundings } from './context.ts';
import { usageError } from './exit-codes.ts';
import { textFile } from './input-file.ts';
import { costOf, costReport, trainingOf, trainingReport } from './plan-money.ts';
import { familyReport, machineDocument, modelReport, planDocument } from './plan-view.ts';

export const text: CommandText = {
  usage: 'plan [MODEL[:QUANTIZATION]] [flags]',
  examples: [
    'hadal plan',
    'hadal plan deepseek-v3:Q4_K_M --context 32768',
    'hadal plan r1-distill-qwen-14b --machine workstation.json',
    'hadal plan ./model.gguf --json',
    'hadal plan ./config.json --training tokens=2e12',
  ],
};

export const command = defineCommand({
  meta: { name: 'plan', description: 'show what this machine can run, how fast, and how' },
  args: {
    model: {
      type: 'positional',
      required: false,
      description: 'a published DeepSeek model, a file or a folder; what fits otherwise',
    },
    context: {
      type: 'string',
      alias: 'c',
      valueHint: 'N',
      description: 'tokens of context; 8,192 otherwise',
    },
    parallel: { type: 'string', valueHint: 'N', description: 'conversations at the same time; 1 otherwise' },
    'cache-type': { type: 'string', valueHint: 'TYPE', description: 'F16 or Q8_0; F16 otherwise' },
    machine: { type: 'string', valueHint: 'FILE', description: 'a described machine instead of this one' },
    cost: { type: 'string', valueHint: 'K=N,…', description: 'compare with a hosted API, at these prices' },
    training: {
      type: 'string',
      valueHint: 'K=N,…',
      description: 'what pre-training takes; tokens=N at least',
    },
    all: { type: 'boolean', description: 'every model that fits, base models too' },
    disk: { type: 'boolean', description: 'measure the disk too, with a file of 64 MB' },
    schema: { type: 'boolean', description: 'print the JSON Schema of a described machine' },
    json: { type: 'boolean', description: 'print one JSON document' },
  },
  async run({ rawArgs, cmd, data }) {
    const surroundings = data as Surroundings;
    const { terminal } = surroundings;
    const given = readArguments(cmd.args as object, rawArgs, { words: 1 });
    if (given.has('schema')) {
      terminal.json(machineJsonSchema());
      return;
    }
    const request = requestOf(given);
    const [name] = given.words;
    const training = given.text('training');
    if (training !== undefined) {
      const family = readFamily();
      const model = await trainedModel(given.word(0, 'MODEL', `hadal ${text.usage}`), family);
      const report = trainingOf(training, model, family, readGpuTable());
      if (given.has('json')) terminal.json(report);
      else terminal.out(trainingReport(report));
      return;
    }
    // What it costs is asked of one model.
    if (given.has('cost')) given.word(0, 'MODEL', `hadal ${text.usage}`);
    const machine = await machineOf(given, surroundings);
    if (name === undefined) {
      const family = readFamily().filter(({ kind }) => given.has('all') || kind !== 'base');
      const plans = planFamily(family, machine, request);
      if (given.has('json')) {
        terminal.json({ machine: machineDocument(machine), models: plans.map(planDocument) });
      } else terminal.out(familyReport(machine, plans, given.has('all')));
      return;
    }
    const plan = await planNamed(name, machine, request, surroundings);
    const changes = plan.ways.some(({ fromDisk }) => !fromDisk) ? [] : waysToFit(plan, machine, request);
    const prices = given.text('cost');
    const cost = prices === undefined ? undefined : costOf(prices, plan);
    if (given.has('json')) {
      terminal.json({
        machine: machineDocument(machine),
        ...planDocument(plan),
        to_fit: changes,
        ...(cost === undefined ? {} : { cost }),
      });
    } else terminal.out(modelReport(machine, plan, changes) + (cost === undefined ? '' : costReport(cost)));
  },
});

/**
 * The plan of a model that somebody typed: a path, a name that is on disk, or one of the family with a quantization.
 *
 * @throws HadalError `model-unknown`, `usage`, and what opening a file throws.
 * @example await planNamed('deepseek-v3:Q4_K_M', machine, {}, surroundings);
 */
export async function planNamed(
  name: string,
  machine: Machine,
  request: PlanRequest,
  { env }: Surroundings,
): Promise<ModelPlan> {
  if (existsSync(name) || findModel(readCatalogue(), name) !== undefined) {
    const path = await resolveModel(name, { env, fetch: false });
    const file = await openModelFile(path);
    try {
      return planModel(subjectOfFile(path, file), machine, request);
    } finally {
      await closeModelFile(file);
    }
  }
  const colon = name.lastIndexOf(':');
  refuseSize(readFamily(), name);
  const model = findInFamily(readFamily(), colon < 0 ? name : name.slice(0, colon));
  if (colon >= 0) return planModel(subjectOf(model, quantizationOf(name.slice(colon + 1))), machine, request);
  const best = bestPlan(model, machine, request);
  if (best !== undefined) return best;
  // Nothing fits: the smallest that people use and somebody runs, so that what is missing can be said.
  const usual = planModel(subjectOf(model, 'Q4_K_M'), machine, request);
  const native = planModel(subjectOf(model, 'native'), machine, request);
  return onlyTooSmall(usual) || !onlyTooSmall(native) ? usual : native;
}

/** A published model, or the config.json of one to be made, or the folder that it is in. */
async function trainedModel(name: string, family: readonly FamilyModel[]): Promise<FamilyModel> {
  const facts = statSync(name, { throwIfNoEntry: false });
  if (facts === undefined) return findInFamily(family, name);
  const path = facts.isDirectory() ? join(name, CONFIG_JSON) : name;
  return modelOfConfig(await textFile(path, 'the config.json of a model'), path);
}

function quantizationOf(typed: string): Quantization {
  const found = typed.toLowerCase() === 'native' ? 'native' : fileTypeNamed(typed);
  if (found !== undefined) return found;
  throw usageError({
    what: `the quantization ${JSON.stringify(typed)}`,
    expected: `one of ${OFFERED.join(', ')}`,
    got: 'none of them',
    next: `others that are known: ${FILE_TYPE_NAMES.filter((name) => !OFFERED.includes(name)).join(', ')}`,
  });
}

function requestOf(given: Arguments): PlanRequest {
  const contextTokens = given.number('context', { min: 2, whole: true });
  const sequences = given.number('parallel', { min: 1, max: 65_536, whole: true });
  const cacheDType = given.text('cache-type')?.toUpperCase();
  if (cacheDType !== undefined && !CACHE_TYPES.includes(cacheDType as CacheDType)) {
    throw usageError({
      what: '--cache-type',
      expected: CACHE_TYPES.join(' or '),
      got: JSON.stringify(cacheDType),
    });
  }
  return {
    ...(contextTokens === undefined ? {} : { contextTokens }),
    ...(sequences === undefined ? {} : { sequences }),
    ...(cacheDType === undefined ? {} : { cacheDType: cacheDType as CacheDType }),
  };
}

const CACHE_TYPES: readonly CacheDType[] = ['F16', 'Q8_0'];

function machineOf(given: Arguments, surroundings: Surroundings): Promise<Machine> {
  const described = given.text('machine');
  if (described !== undefined) return Promise.resolve(readMachine(described));
  return probeShown(surroundings, given.has('disk'));
}

/** This machine, with a line of progress. Example: `await probeShown(surroundings, false)`. */
export async function probeShown({ env, terminal }: Surroundings, disk: boolean): Promise<Machine> {
  try {
    return await probeMachine({
      env,
      disk,
      onProgress: (doing) => terminal.progress(`${doing} …`),
    });
  } finally {
    terminal.progress('');
  }
}
