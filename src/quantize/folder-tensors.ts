/**
 * Owns: the tensors of a Hugging Face folder as GGUF has them: names, stacks of experts, the order of rotated rows, the
 * halves of kv_b, scales.
 * Refuses to know: number types' layouts, threads, where anything is written.
 */

import type { ScaleBlock } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import type { GroupedConfig, LatentConfig, ModelConfig } from '../model/config.ts';
import { llama3Divisors } from '../model/rope.ts';
import { ggufName } from '../model/tensors-hf.ts';
import { type Piece, type RowRange, type Rows, readRows, rowRanges, type SourceTensor } from './pieces.ts';

/** A folder's tensors that are no weights: rotation tables that are computed anyway. */
const IGNORED = /rotary_emb\.inv_freq$/;
const SCALES = '_scale_inv';

/** The matrices of one GGUF tensor: one, or one for each expert in order, with their scales. */
interface Group {
  readonly name: string;
  readonly parts: { readonly info: TensorInfo; readonly scales?: TensorInfo }[];
}

/**
 * The tensors of a folder under GGUF's names, shapes and order of rows.
 *
 * @throws HadalError `tensor-unexpected` for one that has no name in GGUF, `tensor-shape` for experts that differ.
 * @example folderTensors(file, config, { rows: 128, cols: 128 })
 */
export function folderTensors(
  file: ModelFile,
  config: ModelConfig,
  scaleBlock: ScaleBlock | undefined,
): SourceTensor[] {
  const groups = groupsOf(file);
  const tensors = groups.flatMap((group): SourceTensor[] => {
    const { attention, architecture } = config;
    if (attention.kind === 'latent' && group.name.endsWith('attn_kv_b.weight')) {
      return latentHalves(file, group, attention, scaleBlock);
    }
    const rotated = architecture === 'llama' || architecture === 'deepseek';
    if (rotated && /attn_[qk]\.weight$/.test(group.name)) {
      return [permuted(file, group, attention as GroupedConfig, scaleBlock)];
    }
    return [stacked(file, group, scaleBlock)];
  });
  const divisors = llama3Divisors(config.rope);
  if (divisors) tensors.push(constant('rope_freqs.weight', divisors));
  return tensors.sort((a, b) => rank(a.name) - rank(b.name));
}

function groupsOf(file: ModelFile): Group[] {
  const byName = new Map<string, (Group['parts'][number] & { expert: number })[]>();
  for (const info of file.tensors.values()) {
    if (IGNORED.test(info.name) || info.name.endsWith(SCALES)) continue;
    const name = ggufName(info.name);
    if (name === undefined) {
      throw new HadalError('tensor-unexpected', {
        what: `tensor ${info.name}`,
        expected: 'one that this architecture has',
        got: 'a name that has no counterpart in GGUF',
        next: 'convert a folder of a supported architecture',
      });
    }
    const scales = file.tensors.get(`${info.name}${SCALES}`);
    const expert = Number(/\.experts\.(\d+)\./.exec(info.name)?.[1] ?? 0);
    const parts = byName.get(name) ?? [];
    parts.push({ info, expert, ...(scales ? { scales } : {}) });
    byName.set(name, parts);
  }
  return [...byName].map(([name, parts]) => {
    parts.sort((a, b) => a.expert - b.expert);
    const shape = parts[0]!.info.shape.join(' x ');
    const odd = parts.find(({ info, expert }, i) => expert !== i || info.shape.join(' x ') !== shape);
    if (odd === undefined) return { name, parts };
    throw new HadalError('tensor-shape', {
      what: `tensor ${odd.info.name}`,
      expected: `experts 0 to ${parts.length - 1} of ${shape}`,
      got: `expert ${odd.expert} of ${odd.info.shape.join(' x ')}`,
      next: 'fetch the folder again',
    });
  });
}

function stacked(file: ModelFile, { name, parts }: Group, block: ScaleBlock | undefined): SourceTensor {
  const { shape, dtype } = parts[0]!.info;
  const [cols = 1, rows = 1] = shape;
  const isStack = name.includes('_exps.');
  return {
    name,
    shape: isStack ? [cols, rows, parts.length] : shape,
    dtype,
    *pieces() {
      for (const [matrix, part] of parts.entries()) {
        for (const range of rowRanges(rows, cols))
          yield { matrix, read: () => read(file, part, range, block) };
      }
    },
  };
}

/** Rows of q and k whose two halves rotate together, reordered so that neighbours do: [H, 2, d / 2] becomes [H, d / 2, 2]. */
function permuted(
  file: ModelFile,
  { name, parts }: Group,
  { headDim }: GroupedConfig,
  block: ScaleBlock | undefined,
): SourceTensor {
  const [part] = parts;
  const { shape, dtype } = part!.info;
  const [cols = 1, rows = 1] = shape;
  const readHeads = async (range: RowRange) => ({
    ...(await read(file, part!, range, block)),
    interleavedRows: headDim,
  });
  return {
    name,
    shape,
    dtype,
    *pieces() {
      for (const range of rowRanges(rows, cols, headDim)) {
        yield { matrix: 0, read: () => readHeads(range) };
      }
    },
  };
}

/** kv_b [kvLora, H * (nope + value)] as k_b [nope, kvLora, H], transposed, and v_b [kvLora, value, H]. */
function latentHalves(
  file: ModelFile,
  { name, parts }: Group,
  { heads, kvLora, nopeDim, valueDim }: LatentConfig,
  block: ScaleBlock | undefined,
): SourceTensor[] {
  const [part] = parts;
  const { dtype } = part!.info;
  const headRows = nopeDim + valueDim;
  const halves = function* (first: number, rows: number, transposed: boolean): Generator<Piece> {
    for (let head = 0; head < heads; head++) {
      const from = head * headRows + first;
      const readHalf = async () => ({
        ...(await read(file, part!, { from, to: from + rows }, block)),
        transposed,
      });
      yield { matrix: head, read: readHalf };
    }
  };
  const named = (half: string) => name.replace('attn_kv_b', half);
  return [
    {
      name: named('attn_k_b'),
      shape: [nopeDim, kvLora, heads],
      dtype,
      pieces: () => halves(0, nopeDim, true),
    },
    {
      name: named('attn_v_b'),
      shape: [kvLora, valueDim, heads],
      dtype,
      pieces: () => halves(nopeDim, valueDim, false),
    },
  ];
}

/** Rows with the scales that belong to them. */
async function read(
  file: ModelFile,
  { info, scales }: Group['parts'][number],
  range: RowRange,
  block: ScaleBlock | undefined,
): Promise<Rows> {
  const rows = await readRows(file, info, 0, range);
  if (scales === undefined || block === undefined) return rows;
  const from = Math.floor(range.from / block.rows);
  const { bytes } = await readRows(file, scales, 0, { from, to: Math.ceil(range.to / block.rows) });
  const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const scaling = { values, blockRows: block.rows, blockCols: block.cols, firstRow: range.from % block.rows };
  return { ...rows, scales: scaling };
}

function constant(name: string, values: Float32Array<ArrayBuffer>): SourceTensor {
  const bytes = new Uint8Array(values.buffer);
  const rows: Rows = { name, bytes, from: 'F32', cols: values.length, rows: 1 };
  return {
    name,
    shape: [values.length],
    dtype: 'F32',
    pieces: () => [{ matrix: 0, read: async () => rows }],
  };
}

/** The embedding first, then layer by layer, then what comes after. */
function rank(name: string): number {
  const layer = /^blk\.(\d+)\./.exec(name)?.[1];
  if (layer !== undefined) return Number(layer);
  return name === 'token_embd.weight' ? -2 : name === 'rope_freqs.weight' ? -1 : Number.POSITIVE_INFINITY;
}
