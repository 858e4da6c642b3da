/**
 * Owns: which importance each tensor gets out of an importance matrix, which types do not do without, and what the file
 * says of it afterwards.
 * Refuses to know: how importance is used, files.
 */
import type { DTypeName } from '../dtypes/dtype.ts';
import { dtype } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import { type TypedValue, typed } from '../formats/gguf/write.ts';
import { type Imatrix, meansOf } from '../formats/imatrix.ts';
import type { PlannedTensor } from './write-model.node.ts';

/** An importance matrix, and the file that it is from. */
export interface NamedImatrix {
  readonly path: string;
  readonly matrix: Imatrix;
}

/**
 * Planned tensors with their importance, where there is a matrix, once it is sure that none lacks what it needs.
 *
 * @param next what to do about types that need a matrix
 * @throws HadalError `imatrix-mismatch`, `imatrix-needed`
 * @example const { tensors, missing } = weighed(planned, undefined, 'give one: --imatrix');
 */
export function weighed(
  planned: readonly PlannedTensor[],
  imatrix: NamedImatrix | undefined,
  next: string,
): { readonly tensors: readonly PlannedTensor[]; readonly missing?: readonly string[] } {
  const found = imatrix ? weigh(planned, imatrix.matrix, imatrix.path) : { tensors: planned };
  demandImportance(found.tensors, next);
  return found;
}

/** Tensors with their importance, and the names of those that should have some and have none. */
export interface Weighed {
  readonly tensors: readonly PlannedTensor[];
  readonly missing: readonly string[];
}

/**
 * Gives the tensors that are quantized in blocks the importance of their columns.
 *
 * @throws HadalError `imatrix-mismatch` for a tensor of other columns or experts than the matrix has.
 * @example const { tensors, missing } = weigh(planned, imatrix, 'model-imatrix.gguf');
 */
function weigh(planned: readonly PlannedTensor[], { entries }: Imatrix, path: string): Weighed {
  const missing: string[] = [];
  const tensors = planned.map((tensor) => {
    const { name, shape, dtype: to } = tensor;
    if (dtype(to).blockElements === 1 || to === tensor.source.dtype) return tensor;
    const entry = entries.get(name);
    if (entry === undefined) {
      missing.push(name);
      return tensor;
    }
    const importance = meansOf(entry);
    const [cols = 1, , ...stacked] = shape;
    const matrices = stacked.reduce((product, length) => product * length, 1);
    if (importance.length !== cols && importance.length !== cols * matrices) {
      throw new HadalError('imatrix-mismatch', {
        what: `${name} in ${path}`,
        expected: `${matrices > 1 ? `${matrices} x ` : ''}${cols} numbers, as the model's tensor has columns`,
        got: `${importance.length}`,
        next: 'make an importance matrix of this model: `hadal imatrix`',
      });
    }
    return { ...tensor, importance };
  });
  return { tensors, missing };
}

/** Types of so few bits that a model is of no use unless they are spent where they matter. */
const NEEDY: ReadonlySet<DTypeName> = new Set(['IQ2_S', 'IQ2_XS', 'IQ2_XXS', 'IQ1_M', 'IQ1_S']);
/** What importance matrices leave out. */
const LEFT_OUT: ReadonlySet<string> = new Set(['token_embd.weight', 'output.weight']);

/**
 * Refuses tensors that would become one of the types that need an importance, and have none.
 *
 * @throws HadalError `imatrix-needed`
 * @example demandImportance(planned, 'give one: --imatrix')
 */
function demandImportance(planned: readonly PlannedTensor[], next: string): void {
  const found = planned.find(
    ({ name, dtype: to, source, importance }) =>
      NEEDY.has(to) && to !== source.dtype && importance === undefined && !LEFT_OUT.has(name),
  );
  if (found === undefined) return;
  throw new HadalError('imatrix-needed', {
    what: `${found.name} in ${found.dtype}`,
    expected: 'an importance matrix that knows it: so few bits are of use only where they matter',
    got: 'none',
    next,
  });
}

/**
 * The keys that llama.cpp writes of an importance matrix.
 *
 * @example imatrixMetadata({ path: 'model-imatrix.gguf', matrix })[0] // ['quantize.imatrix.file', { type: 'string', … }]
 */
export function imatrixMetadata({
  path,
  matrix: { datasets, entries, chunks },
}: NamedImatrix): [string, TypedValue][] {
  const [dataset] = datasets;
  return [
    ['quantize.imatrix.file', typed('string', path)],
    ...(dataset === undefined
      ? []
      : [['quantize.imatrix.dataset', typed('string', dataset)] satisfies [string, TypedValue]]),
    ['quantize.imatrix.entries_count', typed('u32', entries.size)],
    ['quantize.imatrix.chunks_count', typed('u32', Math.max(0, chunks))],
  ];
}
