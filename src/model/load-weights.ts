/**
 * Owns: bringing planned tensors into a backend: matrices as they are, vectors as F32, experts stacked, scales attached.
 * Refuses to know: what a layer computes, how a file was planned.
 */
import type { Backend, LoadProgress, Weight } from '../backend/backend.ts';
import { dtype } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import type { ModelFile, TensorInfo } from '../formats/tensor-info.ts';
import type { RopeConfig } from './config.ts';
import { ROPE_FREQUENCIES } from './grouped-attention.ts';
import { ropeFrequencies } from './rope.ts';
import { demandShape, keptApart, planBytes, type TensorPlan } from './weights.ts';

/**
 * The weights of the plans by GGUF name, in the shape of their specs: [experts, rows, cols]. Throws `nan-weights` for a
 * norm, bias or router with a number that is none, and what the backend's `load` throws.
 *
 * @example (await loadWeights(file, backend, plans)).get('token_embd.weight')
 */
export async function loadWeights(
  file: ModelFile,
  backend: Backend,
  plans: readonly TensorPlan[],
  onProgress?: LoadProgress,
): Promise<Map<string, Weight>> {
  const total = plans.reduce((sum, plan) => sum + planBytes(plan), 0);
  const weights = new Map<string, Weight>();
  let done = 0;
  for (const { spec, tensors } of plans) {
    const vector = spec.shape.length === 1;
    // A router's row of NaN would only keep its expert from ever being chosen, and nobody would notice.
    if (!vector && spec.part !== 'router') continue;
    const [info] = tensors as [TensorInfo];
    const values = await readFinite(file, info);
    if (!vector) continue;
    weights.set(spec.name, backend.constant(spec.name, 'F32', spec.shape, new Uint8Array(values.buffer)));
    done += info.bytes;
  }
  const matrices = plans.filter(({ spec }) => spec.shape.length > 1);
  const loaded = await loadMatrices(file, backend, matrices, (bytes) => onProgress?.(done + bytes, total));
  for (const plan of matrices) weights.set(plan.spec.name, assembled(backend, plan, loaded));
  return weights;
}

/**
 * Rotation frequencies as a weight; GGUF files of Llama 3 carry divisors for them.
 *
 * @example (await loadRotation(file, backend, config.rope)).cols // rope.dim / 2
 */
export async function loadRotation(file: ModelFile, backend: Backend, rope: RopeConfig): Promise<Weight> {
  const info = file.tensors.get('rope_freqs.weight');
  if (info) demandShape(info, [rope.dim / 2], file.sources[info.source]!.name);
  const frequencies = ropeFrequencies(rope, info && (await readFinite(file, info)));
  const bytes = new Uint8Array(frequencies.buffer);
  return backend.constant(ROPE_FREQUENCIES, 'F32', [frequencies.length], bytes);
}

/** Norms and biases are small, and wanted as F32 whatever the file has. */
async function readFinite(file: ModelFile, info: TensorInfo): Promise<Float32Array> {
  const source = file.sources[info.source]!;
  const bytes = await source.read(info.offset, info.bytes);
  const values = new Float32Array(info.shape.reduce((product, n) => product * n, 1));
  dtype(info.dtype).decode!(bytes, 0, values, 0, values.length);
  const wrong = values.findIndex((value) => !Number.isFinite(value));
  if (wrong < 0) return values;
  throw new HadalError('nan-weights', {
    what: `tensor "${info.name}" of ${source.name}`,
    expected: 'finite numbers',
    got: `${values[wrong]} at index ${wrong}`,
    next: 'the file is damaged: fetch or convert it again',
  });
}

async function loadMatrices(
  file: ModelFile,
  backend: Backend,
  plans: readonly TensorPlan[],
  onBytes: (done: number) => void,
): Promise<Map<string, Weight>> {
  const infos = plans.flatMap(({ tensors, scales = [] }) => [...tensors, ...scales]);
  const specs = keptApart(plans.map(({ spec }) => spec));
  const tables = plans.filter(({ spec }) => specs.includes(spec));
  const apart = new Set(tables.flatMap(({ tensors }) => tensors.map(({ name }) => name)));
  const loaded = new Map<string, Weight>();
  let before = 0;
  for (const [index, source] of file.sources.entries()) {
    const here = infos.filter((info) => info.source === index);
    if (here.length === 0) continue;
    const weights = await backend.load(source, here, (done) => onBytes(before + done), apart);
    for (const [name, weight] of weights) loaded.set(name, weight);
    before += here.reduce((sum, { bytes }) => sum + bytes, 0);
  }
  return loaded;
}

function assembled(
  backend: Backend,
  { spec, tensors, scales, scaleBlock }: TensorPlan,
  loaded: ReadonlyMap<string, Weight>,
): Weight {
  const parts = tensors.map(({ name }, i) => {
    const part = loaded.get(name)!;
    return scales && scaleBlock ? backend.scaled(part, loaded.get(scales[i]!.name)!, scaleBlock) : part;
  });
  const [cols = 1, rows = 1, experts = 1] = spec.shape;
  const whole = parts.length === 1 ? parts[0]! : backend.stack(spec.name, parts);
  const fits = whole.experts === experts && whole.rows === rows && whole.cols === cols;
  return fits ? whole : backend.reshape(whole, experts, rows, cols);
}
