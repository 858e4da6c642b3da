/**
 * Owns: which type each tensor gets, held to llama.cpp's quantizer.
 * Refuses to know: encoders, files.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { DTypeName } from '../../../src/dtypes/dtype.ts';
import { chooseTypes } from '../../../src/quantize/choose-types.ts';
import { fileTypeNamed } from '../../../src/quantize/file-types.ts';

/** By type: tensors, `*` for the number of their block; what is not named is F32. */
type Groups = Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>;

interface Golden {
  readonly models: readonly {
    readonly name: string;
    readonly layers: number;
    readonly groupSize: number;
    readonly experts: number;
    readonly shapes: Readonly<Record<string, number[]>>;
    /** By file type: without an importance matrix, where llama.cpp does without, and with one, where that differs. */
    readonly types: Readonly<Record<string, { readonly plain?: Groups; readonly importance?: Groups }>>;
  }[];
}

const golden: Golden = JSON.parse(readFileSync(new URL('./types.json', import.meta.url), 'utf8'));
const cases = golden.models.flatMap((model) =>
  Object.entries(model.types).flatMap(([fileType, { plain, importance = plain }]) => [
    ...(plain ? [{ ...model, fileType, how: 'without', groups: plain }] : []),
    { ...model, fileType, how: 'with', groups: importance! },
  ]),
);

test.each(cases)('$fileType of $name $how an importance matrix', ({ shapes, groups, how, ...model }) => {
  const expected = new Map(Object.keys(shapes).map((name) => [name, 'F32']));
  for (const [type, names] of Object.entries(groups)) {
    for (const [name, layers] of Object.entries(names)) {
      if (!name.includes('*')) expected.set(name, type);
      for (const layer of layers) expected.set(name.replace('*', `${layer}`), type);
    }
  }
  const tensors = Object.entries(shapes).map(([name, shape]) => ({ name, shape, dtype: 'F32' as DTypeName }));
  const { layers, groupSize, experts, fileType } = model;
  const chosen = chooseTypes(tensors, {
    fileType: fileTypeNamed(fileType)!,
    layers,
    groupSize,
    experts,
    importance: how === 'with',
  });
  expect([...chosen].map(([name, { type }]) => [name, type])).toEqual([...expected]);
});
