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
    build(weights, { x, f32 }) {
      const h = f32('normed', hidden);
      const gate = f32('gate', inter);
      const up = f32('up', inter);
      const ffnNorm = weights.get(`${blk}ffn_norm.weight`);
      const gateUp = [
        { weight: weights.get(`${blk}ffn_gate.weight`), out: gate },
        { weight: weights.get(`${blk}ffn_up.weight`), out: up },
      ];
      const down = [{ weight: weights.get(`${blk}ffn_down.weight`), out: x, add: true }];
      return (backend, batch) => {
        backend.rmsNorm(batch, h, x, ffnNorm, normEps); // [n, d]
        backend.matmul(batch, h, gateUp); // [n, inter] twice
        backend.swiglu(batch, gate, gate, up); // [n, inter]
        backend.matmul(batch, gate, down); // [n, d]
      };
    },
  };
}
