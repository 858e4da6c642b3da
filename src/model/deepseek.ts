/**
 * Owns: DeepSeek's architectures with experts: deepseek (MoE-16B) and deepseek2 (V2, V2-Lite, V3, R1; with
 * an indexer deepseek32, V3.2).
 * Refuses to know: files, the dense families.
 */
import type { ModelConfig } from './config.ts';
import type { Decoder, Sublayer } from './decoder.ts';
import { feedForward } from './feed-forward.ts';
import { groupedAttention } from './grouped-attention.ts';
import { type LatentLayout, latentAttention } from './mla.ts';
import { moe } from './moe.ts';
import { predictor } from './predictor.ts';

/** llama's attention; experts after the leading dense layers. Example: `deepseek(config).sublayers.length // 56`. */
export function deepseek(config: ModelConfig): Decoder {
  return layered(config, (l) => groupedAttention(config, l, { biases: 'optional', headNorms: false }));
}

/**
 * Latent attention; experts after the leading dense layers; with `predicting` one more layer that predicts.
 *
 * @example deepseek2(config, 'merged', true)
 */
export function deepseek2(config: ModelConfig, layout: LatentLayout, predicting: boolean): Decoder {
  return layered(config, (l) => latentAttention(config, l, layout), predicting);
}

function layered(config: ModelConfig, attention: (layer: number) => Sublayer, predicting = false): Decoder {
  const { layers, experts } = config;
  const layer = (l: number) => [
    attention(l),
    experts && l >= experts.leadingDense ? moe(config, l) : feedForward(config, l),
  ];
  return {
    config,
    sublayers: Array.from({ length: layers }, (_, l) => layer(l)).flat(),
    ...(predicting ? { predictor: predictor(config, layer(layers)) } : {}),
  };
}
