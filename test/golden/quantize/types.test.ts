/**
 * Owns: which type each tensor gets, held to llama.cpp's quantizer.
 * Refuses to know: encoders, files.
 */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import type { DTypeName } from '../../../src/dtypes/dtype.ts';
import { chooseTypes } from '../../../src/quantize/choose-types.ts';
import { fileTypeNamed } from '../../../src/quantize/file-types.ts';

interface Golden {
  readonly models: readonly {
    readonly name: string;
    readonly layers: number;
    readonly groupSize: number;
    readonly shapes: Readonly<Record<string, number[]>>;
    /** By file type and type of tensors: names; what is not named is F32. */
    readonly types: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  }[];
}

const golden: Golden = JSON.parse(readFileSync(new URL('./types.json', import.meta.url), 'utf8'));
const cases = golden.models.flatMap((model) =>
  Object.entries(model.types).map(([fileType, groups]) => ({ ...model, fileType, groups })),
);

test.each(cases)('$fileType of $name', ({ layers, groupSize, shapes, fileType, groups }) => {
  const expected = new Map(Object.keys(shapes).map((name) => [name, 'F32']));
  for (const [type, names] of Object.entries(groups)) for (const name of names) expected.set(name, type);
  const tensors = Object.entries(shapes).map(([name, shape]) => ({ name, shape, dtype: 'F32' as DTypeName }));
  const chosen = chooseTypes(tensors, {
    fileType: fileTypeNamed(fileType),
    layers,
    groupSize,
    importance: false,
  });
  expect([...chosen].map(([name, { type }]) => [name, type])).toEqual([...expected]);
});
