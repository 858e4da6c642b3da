/**
 * Owns: the mixture-of-experts feed-forward layer: router, routed experts, shared experts.
 * Refuses to know: attention, which layers are dense.
 *
 * Sources: DeepSeekMoE (arXiv 2401.06066), DeepSeek-V2 (2405.04434, group-limited routing), DeepSeek-V3 (2412.19437,
 * sigmoid scores with a correction bias); the gates differ only in their options.
 */
import type { RouteOptions } from '../backend/backend.ts';
import type { ExpertsConfig, ModelConfig } from './config.ts';
import type { Sublayer } from './decoder.ts';
import type { TensorSpec } from './weights.ts';

/**
 * x += shared(h) + sum over the chosen experts of weight * expert(h), h = ffn_norm(x).
 *
 * @example moe(config, 3)
 */
export function moe(config: ModelConfig, layer: number): Sublayer {
  const { hidden, normEps } = config;
  const of = config.experts!;
  const blk = `blk.${layer}.`;
  const { bias: biased, ...gate } = of.gate;
  const options: RouteOptions = { ...gate, used: of.used };
  return {
    specs: moeSpecs(hidden, of, blk),
    streams: [],
    build(weights, { x, f32, i32, inner, counts }) {
      const h = f32('normed', hidden);
      const logits = f32('router logits', of.experts);
      const ids = i32('expert ids', of.used);
      const mix = f32('expert weights', of.used);
      const weight = (name: string) => weights.get(`${blk}${name}.weight`);
      const ffnNorm = weight('ffn_norm');
      const router = [{ weight: weight('ffn_gate_inp'), out: logits }];
      const bias = biased ? weights.get(`${blk}exp_probs_b.bias`) : undefined;
      const experts = {
        gate: weight('ffn_gate_exps'),
        up: weight('ffn_up_exps'),
        down: weight('ffn_down_exps'),
      };
      const chosen = counts(layer);
      const sharedInter = of.shared * of.inter;
      const shared = sharedInter > 0 && {
        up: {
          weight: weight('ffn_up_shexp'),
          gate: weight('ffn_gate_shexp'),
          out: inner(sharedInter),
        },
        down: { weight: weight('ffn_down_shexp'), out: x, add: true },
      };
      return (backend, batch) => {
        backend.rmsNorm(batch, h, x, ffnNorm, normEps); // [n, d]
        backend.matmul(batch, h, router); // [n, E]
        backend.route(batch, ids, mix, logits, bias, options); // [n, used]
        if (chosen) backend.countExperts(batch, chosen, ids);
        backend.experts(batch, x, h, ids, mix, experts); // [n, d]
        if (!shared) return;
        backend.matmul(batch, h, [shared.up]); // [n, shared * inter]
        backend.matmul(batch, shared.up.out, [shared.down]); // [n, d]
      };
    },
  };
}

function moeSpecs(hidden: number, of: ExpertsConfig, blk: string): TensorSpec[] {
  const specs: TensorSpec[] = [
    { name: `${blk}ffn_norm.weight`, shape: [hidden], part: 'norms' },
    { name: `${blk}ffn_gate_inp.weight`, shape: [hidden, of.experts], part: 'router' },
    { name: `${blk}ffn_gate_exps.weight`, shape: [hidden, of.inter, of.experts], part: 'experts' },
    { name: `${blk}ffn_up_exps.weight`, shape: [hidden, of.inter, of.experts], part: 'experts' },
    { name: `${blk}ffn_down_exps.weight`, shape: [of.inter, hidden, of.experts], part: 'experts' },
  ];
  if (of.gate.bias) specs.push({ name: `${blk}exp_probs_b.bias`, shape: [of.experts], part: 'router' });
  if (of.shared > 0) {
    const inter = of.shared * of.inter;
    specs.push(
      { name: `${blk}ffn_gate_shexp.weight`, shape: [hidden, inter], part: 'shared experts' },
      { name: `${blk}ffn_up_shexp.weight`, shape: [hidden, inter], part: 'shared experts' },
      { name: `${blk}ffn_down_shexp.weight`, shape: [inter, hidden], part: 'shared experts' },
    );
  }
  return specs;
}
