import { describe, expect, test } from 'vitest';
import { HadalError } from '../error.ts';
import { findInFamily, readFamily } from '../hub/family.ts';
import { type CostQuestion, compareCost } from './cost.ts';
import { findGpu, readGpuTable } from './machine.ts';
import {
  estimateTraining,
  modelOfConfig,
  PUBLISHED_RUNS,
  trainingFlopsPerToken,
  utilisationOf,
} from './training.ts';

const family = readFamily();
const gpus = readGpuTable();

describe('training', () => {
  test('a token of V3 takes six operations for each active number, and some for attention', () => {
    const flops = trainingFlopsPerToken(findInFamily(family, 'v3'), 4096);
    // 36.6 billion multiplied; attention: 61 layers, 128 heads, 192 + 128 columns, 2048 tokens on average.
    expect(flops / (6 * (36.6e9 + 61 * 128 * 320 * 2048))).toBeCloseTo(1, 2);
  });

  test('what the published hours come to is what such runs report', () => {
    const [v3, v2] = PUBLISHED_RUNS.map((run) => utilisationOf(run, family, gpus));
    expect(v3).toBeGreaterThan(v2 ?? 1);
    for (const share of [v3, v2]) {
      expect(share).toBeGreaterThan(0.2);
      expect(share).toBeLessThan(0.5);
    }
  });

  test('hours and money follow from tokens, rate and utilisation', () => {
    const model = findInFamily(family, 'v3');
    const question = { model, family, gpus, gpu: findGpu(gpus, 'H800'), sequenceTokens: 4096, hourPrice: 2 };
    const half = estimateTraining({ ...question, tokens: 1e12, utilisation: 0.4 });
    expect(half.gpuHours).toBeCloseTo(half.flops / (989e12 * 0.4 * 3600), 3);
    expect(half.cost).toBe(half.gpuHours * 2);
    // V3's report: 180 thousand H800 hours for each trillion tokens, 5.3 million dollars for all.
    const whole = estimateTraining({ ...question, tokens: 14.8e12 });
    expect(whole.cost / 5.328e6).toBeCloseTo(1, 3);
    expect(whole.source).toContain('2,664,000 H800 hours of DeepSeek-V3');
  });
});

describe('a config.json of a model to be made', () => {
  const estimated = (model: Parameters<typeof estimateTraining>[0]['model']) =>
    estimateTraining({
      ...{ model, family, gpus, gpu: findGpu(gpus, 'H800') },
      ...{ tokens: 14.8e12, sequenceTokens: 4096, hourPrice: 2 },
    });

  test('is estimated as the published model of that config is', () => {
    const v3 = findInFamily(family, 'v3');
    const { config } = v3.shape;
    const fp8 = { quant_method: 'fp8', weight_block_size: [128, 128] };
    const same = modelOfConfig(JSON.stringify({ ...config, quantization_config: fp8 }), 'config.json');
    expect(estimated(same)).toEqual(estimated(v3));
    expect(same.shape.parameters / 671e9).toBeCloseTo(1, 2);
    // Half as many layers take a little more than half: embedding and head stay.
    const half = estimated(
      modelOfConfig(JSON.stringify({ ...config, num_hidden_layers: 31 }), 'config.json'),
    );
    expect(half.flops / estimated(v3).flops).toBeGreaterThan(0.49);
    expect(half.flops / estimated(v3).flops).toBeLessThan(0.53);
    expect(half.source).toContain('DeepSeek-V2');
  });

  test.each([
    '{',
    '[]',
    '3',
    '{"model_type":"deepseek_v3"}',
    '{"model_type":"mamba"}',
    '{"model_type":"deepseek_v4"}',
  ])('%s is refused', (text) => {
    expect(() => modelOfConfig(text, 'config.json')).toThrow(HadalError);
  });
});

describe('cost', () => {
  const question: CostQuestion = {
    by: 'Hadal with a model in Q4_K_M',
    inputPrice: 1,
    outputPrice: 4,
    inputTokens: 36e6,
    outputTokens: 3.6e6,
    machinePrice: 3600,
    months: 36,
    watts: 500,
    kilowattHourPrice: 0.2,
    decodePerSecond: 10,
    prefillPerSecond: 1000,
    batchGain: 2,
  };

  test('is what a calculator says', () => {
    const { hosted, own, busyHours, machines, evenAt, assumptions } = compareCost(question);
    expect(hosted).toBeCloseTo(36 + 14.4, 9);
    expect(busyHours).toBeCloseTo(10 + 50, 9);
    expect(own.machine).toBe(100);
    expect(own.power).toBeCloseTo(60 * 0.5 * 0.2, 9);
    expect(machines).toBe(1);
    expect(evenAt).toBeCloseTo(100 / (50.4 - 6), 9);
    expect(assumptions).toHaveLength(7);
    expect(assumptions.join()).toContain(
      'Hadal with a model in Q4_K_M answers as well as the model of the API',
    );
  });

  test('more work than a machine does takes several, and a free API is never beaten', () => {
    expect(compareCost({ ...question, outputTokens: 360e6 }).machines).toBe(12);
    expect(compareCost({ ...question, inputPrice: 0, outputPrice: 0 }).evenAt).toBeUndefined();
    expect(() => compareCost({ ...question, watts: -1 })).toThrow('watts: expected a number from 0 up');
  });
});
