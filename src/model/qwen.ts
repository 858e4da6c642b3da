/**
 * Owns: the qwen2 and qwen3 architectures: the Qwen distills of R1.
 * Refuses to know: files, other architectures.
 */
import type { ModelConfig } from './config.ts';
import type { Decoder } from './decoder.ts';
import { feedForward } from './feed-forward.ts';
import { type GroupedExtras, groupedAttention } from './grouped-attention.ts';

/** llama with biases on q, k and v. Example: `qwen2(config).sublayers.length // 2 * layers`. */
export function qwen2(config: ModelConfig): Decoder {
  return qwen(config, { biases: 'required', headNorms: false });
}

/** llama with norms over the heads of q and k. Example: `qwen3(config).sublayers.length // 2 * layers`. */
export function qwen3(config: ModelConfig): Decoder {
  return qwen(config, { biases: 'optional', headNorms: true });
}

function qwen(config: ModelConfig, extras: GroupedExtras): Decoder {
  const layer = (l: number) => [groupedAttention(config, l, extras), feedForward(config, l)];
  return { config, sublayers: Array.from({ length: config.layers }, (_, l) => layer(l)).flat() };
}
