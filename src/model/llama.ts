/**
 * Owns: the llama architecture: DeepSeek-LLM, DeepSeek-Coder, the Llama distills, SmolLM2.
 * Refuses to know: files, other architectures.
 */
import type { ModelConfig } from './config.ts';
import type { Decoder } from './decoder.ts';
import { feedForward } from './feed-forward.ts';
import { groupedAttention } from './grouped-attention.ts';

/**
 * Every layer: x += attention(norm(x)); x += ffn(norm(x)).
 *
 * @example llama(configFromGguf(file)).sublayers.length // 2 * layers
 */
export function llama(config: ModelConfig): Decoder {
  const layer = (l: number) => [
    groupedAttention(config, l, { biases: 'optional', headNorms: false }),
    feedForward(config, l),
  ];
  return { config, sublayers: Array.from({ length: config.layers }, (_, l) => layer(l)).flat() };
}
