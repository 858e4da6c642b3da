/**
 * Owns: the table of number formats and look-ups in it.
 * Refuses to know: how any one format is laid out; tensors, files.
 */
import { HadalError } from '../error.ts';
import type { DType, DTypeName } from './dtype.ts';
import { BF16, F16, F32 } from './floats.ts';
import { F8_E4M3, F8_E8M0 } from './fp8.ts';
import { F64, I8, I16, I32, I64, U8 } from './integers.ts';
import { IQ1_M, IQ1_S } from './iq1.ts';
import { IQ2_S, IQ2_XS, IQ2_XXS } from './iq2.ts';
import { IQ3_S, IQ3_XXS } from './iq3.ts';
import { IQ4_NL, IQ4_XS } from './iq4.ts';
import { MXFP4 } from './mxfp4.ts';
import { Q2_K } from './q2-k.ts';
import { Q3_K } from './q3-k.ts';
import { Q4_0, Q4_1 } from './q4.ts';
import { Q4_K, Q5_K } from './q4-k.ts';
import { Q5_0, Q5_1 } from './q5.ts';
import { Q6_K } from './q6-k.ts';
import { Q8_0 } from './q8-0.ts';
import { TQ1_0, TQ2_0 } from './tq.ts';

/** Every format that files may hold, in the order of GGUF's ids; those without one last. */
export const DTYPES: readonly DType[] = [
  F32,
  F16,
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ2_XXS,
  IQ2_XS,
  IQ3_XXS,
  IQ1_S,
  IQ4_NL,
  IQ3_S,
  IQ2_S,
  IQ4_XS,
  I8,
  I16,
  I32,
  I64,
  F64,
  IQ1_M,
  BF16,
  TQ1_0,
  TQ2_0,
  MXFP4,
  F8_E4M3,
  F8_E8M0,
  U8,
];

const byName = new Map(DTYPES.map((entry) => [entry.name, entry]));
const byGgmlId = new Map(DTYPES.filter(({ ggmlId }) => ggmlId >= 0).map((entry) => [entry.ggmlId, entry]));

/**
 * The format of a name.
 *
 * @throws HadalError `dtype-unknown`
 * @example dtype('Q4_0').blockBytes // 18
 */
export function dtype(name: DTypeName): DType {
  const entry = byName.get(name);
  if (entry === undefined) {
    throw new HadalError('dtype-unknown', {
      what: `the number format ${name}`,
      expected: `one of ${[...byName.keys()].join(', ')}`,
      next: 'convert the file to one of these',
    });
  }
  return entry;
}

/** The format of an id in a GGUF tensor table, or undefined. Example: `dtypeOfGgml(2)?.name // 'Q4_0'` */
export function dtypeOfGgml(id: number): DType | undefined {
  return byGgmlId.get(id);
}

/**
 * Bytes of a row of `elements` numbers.
 *
 * @throws HadalError `dtype-row` when the row is not whole blocks.
 * @example rowBytes('Q8_0', 576) // 612
 */
export function rowBytes(name: DTypeName, elements: number): number {
  const { blockElements, blockBytes } = dtype(name);
  if (elements % blockElements !== 0) {
    throw new HadalError('dtype-row', {
      what: `a row of ${elements} numbers in ${name}`,
      expected: `a multiple of ${blockElements}`,
      next: 'use a format with smaller blocks',
    });
  }
  return (elements / blockElements) * blockBytes;
}
