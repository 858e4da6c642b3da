/**
 * Owns: the tensor names of Hugging Face folders, one table, and where a needed tensor's bytes are in such a folder.
 * Refuses to know: config.json, what a layer computes.
 */

import type { ScaleBlock } from '../backend/backend.ts';
import type { TensorInfo } from '../formats/tensor-info.ts';
import { demandShape, missing, type TensorPlan, type TensorSpec } from './weights.ts';

/** Names outside the layers: GGUF's, and the folder's. */
const GLOBAL_NAMES: Readonly<Record<string, string>> = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
};

/** Names inside layer N: `blk.N.` + GGUF's, `model.layers.N.` + the folder's; `*` stands for the number of an expert. */
const LAYER_NAMES: Readonly<Record<string, string>> = {
  'attn_norm.weight': 'input_layernorm.weight',
  'attn_q.weight': 'self_attn.q_proj.weight',
  'attn_q.bias': 'self_attn.q_proj.bias',
  'attn_k.weight': 'self_attn.k_proj.weight',
  'attn_k.bias': 'self_attn.k_proj.bias',
  'attn_v.weight': 'self_attn.v_proj.weight',
  'attn_v.bias': 'self_attn.v_proj.bias',
  'attn_q_norm.weight': 'self_attn.q_norm.weight',
  'attn_k_norm.weight': 'self_attn.k_norm.weight',
  'attn_output.weight': 'self_attn.o_proj.weight',
  'attn_q_a.weight': 'self_attn.q_a_proj.weight',
  'attn_q_a_norm.weight': 'self_attn.q_a_layernorm.weight',
  'attn_q_b.weight': 'self_attn.q_b_proj.weight',
  'attn_kv_a_mqa.weight': 'self_attn.kv_a_proj_with_mqa.weight',
  'attn_kv_a_norm.weight': 'self_attn.kv_a_layernorm.weight',
  'attn_kv_b.weight': 'self_attn.kv_b_proj.weight',
  'indexer.attn_q_b.weight': 'self_attn.indexer.wq_b.weight',
  'indexer.attn_k.weight': 'self_attn.indexer.wk.weight',
  'indexer.k_norm.weight': 'self_attn.indexer.k_norm.weight',
  'indexer.k_norm.bias': 'self_attn.indexer.k_norm.bias',
  'indexer.proj.weight': 'self_attn.indexer.weights_proj.weight',
  'ffn_norm.weight': 'post_attention_layernorm.weight',
  'ffn_gate.weight': 'mlp.gate_proj.weight',
  'ffn_up.weight': 'mlp.up_proj.weight',
  'ffn_down.weight': 'mlp.down_proj.weight',
  'ffn_gate_inp.weight': 'mlp.gate.weight',
  'exp_probs_b.bias': 'mlp.gate.e_score_correction_bias',
  'ffn_gate_exps.weight': 'mlp.experts.*.gate_proj.weight',
  'ffn_up_exps.weight': 'mlp.experts.*.up_proj.weight',
  'ffn_down_exps.weight': 'mlp.experts.*.down_proj.weight',
  'ffn_gate_shexp.weight': 'mlp.shared_experts.gate_proj.weight',
  'ffn_up_shexp.weight': 'mlp.shared_experts.up_proj.weight',
  'ffn_down_shexp.weight': 'mlp.shared_experts.down_proj.weight',
  'nextn.eh_proj.weight': 'eh_proj.weight',
  'nextn.enorm.weight': 'enorm.weight',
  'nextn.hnorm.weight': 'hnorm.weight',
  'nextn.embed_tokens.weight': 'embed_tokens.weight',
  'nextn.shared_head_norm.weight': 'shared_head.norm.weight',
  'nextn.shared_head_head.weight': 'shared_head.head.weight',
};

/** Appended to the name of a block-scaled tensor: its companion of scales. */
const SCALES = '_scale_inv';

/**
 * The folder's names of a tensor: one, or one for each of `experts`.
 *
 * @example hfNames('blk.3.ffn_up_exps.weight', 2) // ['model.layers.3.mlp.experts.0.up_proj.weight', '...1.up_proj.weight']
 */
export function hfNames(ggufName: string, experts: number): string[] {
  const layered = /^blk\.(\d+)\.(.+)$/.exec(ggufName);
  const name = layered
    ? `model.layers.${layered[1]}.${LAYER_NAMES[layered[2]!] ?? layered[2]}`
    : (GLOBAL_NAMES[ggufName] ?? ggufName);
  if (!name.includes('*')) return [name];
  return Array.from({ length: experts }, (_, e) => name.replace('*', String(e)));
}

/** The tables the other way round. */
const GGUF_NAMES: ReadonlyMap<string, string> = new Map([
  ...Object.entries(GLOBAL_NAMES).map(([gguf, hf]) => [hf, gguf] as const),
  ...Object.entries(LAYER_NAMES).map(([gguf, hf]) => [`model.layers.${hf}`, gguf] as const),
]);

/**
 * GGUF's name of a folder's tensor, all experts of a layer being one there; undefined where it is not known.
 *
 * @example ggufName('model.layers.3.mlp.experts.7.up_proj.weight') // 'blk.3.ffn_up_exps.weight'
 */
export function ggufName(name: string): string | undefined {
  const layer = /^model\.layers\.(\d+)\./.exec(name)?.[1];
  const plain = name.replace(/\.layers\.\d+\./, '.layers.').replace(/\.experts\.\d+\./, '.experts.*.');
  const known = GGUF_NAMES.get(plain);
  return known === undefined || layer === undefined ? known : `blk.${layer}.${known}`;
}

/**
 * Matches the specs with a folder's tensors; throws `tensor-missing` or `tensor-shape` for the first that does not fit.
 * Tensors of type F8_E4M3 need a companion of scales when the folder is block-scaled.
 *
 * @example planHf(specs, file.tensors, 'DeepSeek-V3', { rows: 128, cols: 128 })
 */
export function planHf(
  specs: readonly TensorSpec[],
  tensors: ReadonlyMap<string, TensorInfo>,
  folderName: string,
  scaleBlock: ScaleBlock | undefined,
): TensorPlan[] {
  const plans: TensorPlan[] = [];
  for (const spec of specs) {
    const [cols = 1, rows = 1, experts = 1] = spec.shape;
    const names = hfNames(spec.name, experts);
    if (spec.optional && !tensors.has(names[0]!)) continue;
    const shape = names.length > 1 || spec.shape.length > 2 ? [cols, rows] : spec.shape;
    const found = names.map((name) => taken(name, shape, tensors, folderName));
    if (!scaleBlock || found[0]!.dtype !== 'F8_E4M3') {
      plans.push({ spec, tensors: found });
      continue;
    }
    const scaleShape = [Math.ceil(cols / scaleBlock.cols), Math.ceil(rows / scaleBlock.rows)];
    const scales = names.map((name) => taken(`${name}${SCALES}`, scaleShape, tensors, folderName));
    plans.push({ spec, tensors: found, scales, scaleBlock });
  }
  return plans;
}

function taken(
  name: string,
  shape: readonly number[],
  tensors: ReadonlyMap<string, TensorInfo>,
  folderName: string,
): TensorInfo {
  const tensor = tensors.get(name);
  if (!tensor) throw missing(name, folderName);
  demandShape(tensor, shape, folderName);
  return tensor;
}
