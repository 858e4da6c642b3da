/**
 * Owns: the dense feed-forward layer.
 * Refuses to know: attention, experts.
 */
import type { ModelConfig } from './config.ts';
import type { Sublayer } from './decoder.ts';

/**
 * x += ffn_down(silu(ffn_gate h) * ffn_up h), h = ffn_norm(x).
 *
 * @example feedForward(config, 0)
 */
export function feedForward({ hidden, feedForward: inter, normEps }: ModelConfig, layer: number): Sublayer {
  const blk = `blk.${layer}.`;
  return {
    specs: [
      { name: `${blk}ffn_norm.weight`, shape: [hidden], part: 'norms' },
      { name: `${blk}ffn_gate.weight`, shape: [hidden, inter], part: 'feed-forward' },
      { name: `${blk}ffn_up.weight`, shape: [hidden, inter], part: 'feed-forward' },
      { name: `${blk}ffn_down.weight`, shape: [inter, hidden], part: 'feed-forward' },
    ],
    streams: [],
    build(weights, { x, f32, inner }) {
      const h = f32('normed', hidden);
      const gated = inner(inter);
      const ffnNorm = weights.get(`${blk}ffn_norm.weight`);
      const gate = weights.get(`${blk}ffn_gate.weight`);
      const up = [{ weight: weights.get(`${blk}ffn_up.weight`), gate, out: gated }];
      const down = [{ weight: weights.get(`${blk}ffn_down.weight`), out: x, add: true }];
      return (backend, batch) => {
        backend.rmsNorm(batch, h, x, ffnNorm, normEps); // [n, d]
        backend.matmul(batch, h, up); // [n, inter]
        backend.matmul(batch, gated, down); // [n, d]
      };
    },
  };
}
