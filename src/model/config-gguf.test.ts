import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fileInMemory, toyGgufMetadata } from '../../test/fixtures/toy-file.ts';
import type { ToyShape } from '../../test/fixtures/toy-weights.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { configFromGguf } from './config-gguf.ts';

const shapes = JSON.parse(
  readFileSync(new URL('../../test/golden/models/shapes.json', import.meta.url), 'utf8'),
) as readonly ToyShape[];

/** The config of a toy whose file says something else, or nothing. */
function configOf(name: string, changes: Readonly<Record<string, MetaValue | undefined>>) {
  const shape = shapes.find((one) => one.name === name)!;
  const metadata = toyGgufMetadata(shape);
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) metadata.delete(`${shape.architecture}.${key}`);
    else metadata.set(`${shape.architecture}.${key}`, value);
  }
  return configFromGguf(fileInMemory('gguf', metadata, [], 'toy.gguf'));
}

test.each([
  ['v2-like', 160, 8, 3, 'max'],
  ['v3-like', 256, 8, 4, 'top2'],
  ['v2-lite-like', 64, 1, 1, 'max'],
])(
  'a file of before the keys for groups: %s with %i experts has %i groups, %i of them used',
  (name, experts, groups, groupsUsed, groupScore) => {
    const older = {
      expert_count: experts,
      expert_group_count: undefined,
      expert_group_used_count: undefined,
    };
    expect(configOf(name, older).experts?.gate).toMatchObject({ groups, groupsUsed, groupScore });
  },
);

test("what a file says of its groups goes before what V3's are", () => {
  const own = { expert_count: 256, expert_group_count: 1, expert_group_used_count: 1 };
  expect(configOf('v3-like', own).experts?.gate).toMatchObject({ groups: 1, groupsUsed: 1 });
});

test('YaRN: attn_factor multiplies the growth of cos and sin; latent attention has it in the softmax scale', () => {
  const magnitude = (name: string, factor?: number) => {
    const { scaling } = configOf(name, { 'rope.scaling.attn_factor': factor }).rope;
    return scaling.type === 'yarn' ? scaling.magnitude : Number.NaN;
  };
  expect(magnitude('qwen3-yarn')).toBeCloseTo(1 + 0.1 * Math.log(4), 12);
  expect(magnitude('qwen3-yarn', 0.8782488562869419)).toBeCloseTo(1, 12);
  expect(magnitude('v3-like')).toBe(1);
});

test('a linear scaling by its older key', () => {
  const older = { 'rope.scaling.type': undefined, 'rope.scaling.factor': undefined, 'rope.scale_linear': 4 };
  expect(configOf('llama-linear', older).rope.scaling).toEqual({ type: 'linear', factor: 4 });
});
