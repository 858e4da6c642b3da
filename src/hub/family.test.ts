import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, test } from 'vitest';
import { cacheBytes, multiplyAddsPerToken, parameters, subjectOf, weightBytes } from '../planner/subject.ts';
import { FILE_TYPE_NAMES, type FileTypeName } from '../quantize/file-types.ts';
import { readCatalogue } from './catalogue.ts';
import {
  familyJsonSchema,
  familyReference,
  findInFamily,
  parseFamily,
  readFamily,
  refuseSize,
} from './family.ts';

const family = readFamily();
const shapes = [...new Map(family.map((model) => [model.alike, model])).values()];
const named = (name: string) => findInFamily(family, name);

describe('the catalogue against the arithmetic of config.json', () => {
  test.each(shapes.map((model) => [model.title, model] as const))('%s has the published size', (_, model) => {
    const { tensors } = subjectOf(model, 'native');
    const counted = parameters({ tensors: tensors.filter(({ part }) => part !== 'beside') });
    expect(Math.abs(counted / model.shape.parameters - 1)).toBeLessThan(0.025);
    const active = model.shape.active_parameters;
    if (active === undefined) return;
    expect(Math.abs(multiplyAddsPerToken({ tensors }) / active - 1)).toBeLessThan(0.08);
  });

  // `max_position_embeddings` as each model's own config.json says it, not that of the model it was made from.
  test.each([
    ['deepseek-v2-lite', 163_840],
    ['esft-vanilla-lite', 4_096],
    ['esft-token-intent-lite', 4_096],
    ['deepseek-vl2-tiny', 4_096],
    ['deepseek-vl2-small', 4_096],
    ['deepseek-vl2', 4_096],
    ['deepseek-vl-7b-chat', 4_096],
    ['janus-1.3b', 16_384],
    ['janus-pro-7b', 16_384],
    ['deepseek-ocr', 8_192],
    ['deepseek-coder-6.7b-instruct', 16_384],
    ['r1-0528-qwen3-8b', 131_072],
    ['v4-flash', 1_048_576],
  ])('%s takes %i tokens', (name, tokens) => {
    expect(subjectOf(named(name), 'Q4_K_M').contextTokens).toBe(tokens);
  });

  // Bytes of a token's cache, as reported from running files and derived in the papers.
  test.each([
    ['deepseek-v3', 70_272],
    ['deepseek-v2', 69_120],
    ['deepseek-v2-lite', 31_104],
    ['deepseek-llm-67b-chat', 389_120],
    ['deepseek-coder-33b-instruct', 253_952],
  ])('%s keeps %i bytes for a token', (name, bytes) => {
    expect(cacheBytes(subjectOf(named(name), 'Q4_K_M'), 'F16')).toEqual({ perToken: bytes, perSequence: 0 });
  });

  test('V4 keeps compressed rows, and a window that does not grow', () => {
    // 21 layers with a row of 512 and an index row of 128 for 4 tokens, 20 with a row for 128; windows of 128 rows.
    expect(cacheBytes(subjectOf(named('v4-flash'), 'native'), 'F16')).toEqual({
      perToken: 21 * ((512 + 128) / 4) * 2 + 20 * (512 / 128) * 2,
      perSequence: 43 * 128 * 512 * 2,
    });
  });
});

describe('quantized sizes', () => {
  const V3: readonly (readonly [FileTypeName, number])[] = [
    ['F16', 1300],
    ['Q8_0', 700],
    ['Q4_K_M', 380],
    ['IQ2_M', 210],
  ];
  test.each(V3)('V3 in %s comes within 10 %% of the %i GB that people quote', (quantization, gigabytes) => {
    const bytes = weightBytes(subjectOf(named('v3'), quantization));
    expect(Math.abs(bytes / 1e9 / gigabytes - 1)).toBeLessThan(0.1);
  });

  // Sizes of bartowski's files of DeepSeek-V3-0324, made with llama.cpp b4944 and an importance matrix.
  const FILES: readonly (readonly [FileTypeName, number])[] = [
    ['Q8_0', 713.29],
    ['Q6_K', 550.8],
    ['Q5_K_M', 475.4],
    ['Q4_K_M', 404.43],
  ];
  test.each(FILES)('V3-0324 in %s is as large as the published file, %f GB', (quantization, gigabytes) => {
    const bytes = weightBytes(subjectOf(named('v3-0324'), quantization));
    expect(Math.abs(bytes / 1e9 / gigabytes - 1)).toBeLessThan(0.001);
  });

  test('every model has every quantization, from the largest to the smallest', () => {
    for (const model of shapes) {
      const sizes = FILE_TYPE_NAMES.map((quantization) => weightBytes(subjectOf(model, quantization)));
      expect(sizes.every((bytes) => bytes > 0)).toBe(true);
      expect(sizes[0]).toBeGreaterThan(sizes.at(-1)! * 4);
    }
  });
});

describe('names', () => {
  test('a model is found by name, alias and repository', () => {
    expect(named('R1').title).toBe('DeepSeek-R1');
    expect(named('deepseek-ai/DeepSeek-V3').title).toBe('DeepSeek-V3');
    expect(named('unsloth/deepseek-v3-gguf').title).toBe('DeepSeek-V3');
  });

  test.each([
    ['deepseek-r1-14b', 'did you mean deepseek-r1-distill-qwen-14b?'],
    ['deepseek-v3.3', 'did you mean deepseek-v3'],
    ['distill-qwen', 'did you mean deepseek-r1-distill-qwen'],
    ['r1-distill', /llama-70b or .*qwen-32b or .*qwen-14b or .*llama-8b or .*qwen-7b or .*qwen-1.5b\?/],
    ['deepseek-r1-7b', 'did you mean deepseek-r1-distill-qwen-7b?'],
    ['gpt-5', '`hadal plan` lists the models that fit'],
  ])('%s: %s', (name, sentence) => {
    expect(() => named(name)).toThrow(sentence);
  });

  test.each([
    ['deepseek-r1:7b', 'deepseek-r1-distill-qwen-7b'],
    ['R1:7B', 'deepseek-r1-distill-qwen-7b'],
    ['deepseek-r1:671b', 'deepseek-r1'],
    ['deepseek-r1:latest', 'deepseek-r1'],
    ['deepseek-r1:1.5b-qwen-distill-q4_K_M', 'deepseek-r1-distill-qwen-1.5b'],
    ['deepseek-r1:8b', 'deepseek-r1-0528-qwen3-8b or deepseek-r1-distill-llama-8b'],
    ['deepseek-coder:6.7b', 'deepseek-coder-6.7b-instruct or deepseek-coder-6.7b-base'],
    ['deepseek-llm:7b', 'deepseek-llm-7b-chat or deepseek-llm-7b-base'],
    ['deepseek-v2:16b', 'deepseek-v2-lite-chat or deepseek-v2-lite'],
    ['deepseek-coder-v2:16b', 'deepseek-coder-v2-lite-instruct or deepseek-coder-v2-lite-base'],
    ['deepseek-v3.1:671b', 'deepseek-v3.1'],
    ['deepseek-ocr:3b', 'deepseek-ocr'],
  ])('%s, as other tools name it, is %s', (name, truly) => {
    const sentence = `${name}: expected a published DeepSeek model, a file or a folder, got none of these; did you mean ${truly}?`;
    expect(() => refuseSize(family, name)).toThrow(sentence);
    expect(() => familyReference(family, name)).toThrow(sentence);
  });

  test('a name leads to the repository of its files', () => {
    expect(familyReference(family, 'r1:q6_k')).toBe('unsloth/DeepSeek-R1-GGUF:Q6_K');
    expect(familyReference(family, 'R1')).toBe('unsloth/DeepSeek-R1-GGUF:Q4_K_M');
    expect(familyReference(family, 'r1:native')).toBe('deepseek-ai/DeepSeek-R1');
    expect(familyReference(family, 'v2-lite')).toBe('deepseek-ai/DeepSeek-V2-Lite');
    expect(familyReference(family, 'llama')).toBeUndefined();
    expect(() => familyReference(family, 'v2-lite:Q4_K_M')).toThrow('hadal pull USER/REPO:Q4_K_M');
  });

  test('a distill is called a distill and says whose it is', () => {
    const distills = family.filter(({ kind }) => kind === 'distill');
    expect(distills).toHaveLength(7);
    for (const { note } of distills)
      expect(note).toMatch(/^a distill: \S+ trained on answers of DeepSeek-R1/);
  });

  test('no name of the family hides one of the catalogue', () => {
    const names = family.flatMap(({ name, aliases = [] }) => [name, ...aliases]);
    for (const { name } of readCatalogue()) expect(names).not.toContain(name);
  });
});

test('family.json is valid by the JSON Schema that is published for it', () => {
  const validate = new Ajv2020({ strict: false }).compile(familyJsonSchema());
  const json = JSON.parse(readFileSync(new URL('./family.json', import.meta.url), 'utf8'));
  expect(validate(json), JSON.stringify(validate.errors)).toBe(true);
  expect(validate({ ...json, models: [{ name: 'x' }] })).toBe(false);
});

test('a broken family names its field', () => {
  const shape = { config: {}, native: { kind: 'bf16' }, parameters: 1 };
  const model = {
    name: 'a',
    title: 'A',
    repo: 'o/a',
    shape: 's',
    kind: 'chat',
    generation: 1,
    license: 'MIT',
  };
  const parse = (more: object) =>
    parseFamily({ sources: ['x'], shapes: { s: shape }, models: [model], ...more });
  expect(parse({})).toHaveLength(1);
  expect(() => parse({ models: [model, model] })).toThrow('it twice');
  expect(() => parse({ shapes: {} })).toThrow('shape of a');
  expect(() => parse({ models: [{ ...model, kind: 'toy' }] })).toThrow('models.0.kind');
});
