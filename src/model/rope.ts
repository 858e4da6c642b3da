/**
 * Owns: rotation frequencies: plain, linear, Llama 3, YaRN; the factors that go with them.
 * Refuses to know: heads, files, how rotations are carried out.
 */
import type { RopeConfig, RopeScaling } from './config.ts';

/**
 * Radians per position of every rotated pair: [dim / 2], rounded to f32 once. `divisors` are those of GGUF's
 * `rope_freqs.weight`. Sources: RoFormer (plain), YaRN (arXiv 2309.00071) as in DeepSeek-V3's inference code.
 *
 * @example ropeFrequencies({ dim: 64, base: 10000, layout: 'norm', scaling: { type: 'none' } })[0] // 1
 */
export function ropeFrequencies(rope: RopeConfig, divisors?: Float32Array): Float32Array {
  const { dim, base, scaling } = rope;
  const frequencies = new Float32Array(dim / 2);
  for (let i = 0; i < dim / 2; i++) {
    const plain = base ** ((-2 * i) / dim);
    frequencies[i] = scaled(plain, i, rope, scaling) / (divisors?.[i] ?? 1);
  }
  return frequencies;
}

/** Factor on cos and sin. Example: `ropeMagnitude(rope) === 1` without YaRN. */
export function ropeMagnitude({ scaling }: RopeConfig): number {
  return scaling.type === 'yarn' ? scaling.magnitude : 1;
}

/**
 * Factor on q.k before the softmax: 1 / sqrt(headDim), times YaRN's correction where the architecture puts it there.
 *
 * @example softmaxScale(192, v3.rope) // 0.13523, which is 1.87386 / sqrt(192)
 */
export function softmaxScale(headDim: number, { scaling }: RopeConfig): number {
  const plain = 1 / Math.sqrt(headDim);
  if (scaling.type !== 'yarn') return plain;
  return plain * (1 + scaling.logMultiplier * Math.log(scaling.factor)) ** 2;
}

/**
 * What Llama 3's scaling divides every plain frequency by: [dim / 2], as GGUF's `rope_freqs.weight` holds it; undefined
 * for other scalings.
 *
 * @example llama3Divisors(config.rope)
 */
export function llama3Divisors(rope: RopeConfig): Float32Array<ArrayBuffer> | undefined {
  const { dim, base, scaling } = rope;
  if (scaling.type !== 'llama3') return undefined;
  return Float32Array.from({ length: dim / 2 }, (_, i) => {
    const plain = base ** ((-2 * i) / dim);
    return plain / scaled(plain, i, rope, scaling);
  });
}

function scaled(plain: number, i: number, rope: RopeConfig, scaling: RopeScaling): number {
  switch (scaling.type) {
    case 'none':
      return plain;
    case 'linear':
      return plain / scaling.factor;
    case 'llama3': {
      // 0 for wavelengths above originalTokens / lowFreqFactor, 1 below originalTokens / highFreqFactor.
      const turns = (scaling.originalTokens * plain) / (2 * Math.PI);
      const keep = clamped(
        (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor),
      );
      return plain * keep + (plain / scaling.factor) * (1 - keep);
    }
    case 'yarn': {
      const [low, high] = yarnRange(rope, scaling);
      const keep = 1 - clamped((i - low) / (high - low));
      return plain * keep + (plain / scaling.factor) * (1 - keep);
    }
  }
}

/**
 * The pairs between which YaRN goes over from keeping a frequency to dividing it.
 *
 * @example yarnRange(v3.rope, v3.rope.scaling) // [10, 23]
 */
export function yarnRange(
  { dim, base }: Pick<RopeConfig, 'dim' | 'base'>,
  { originalTokens, betaFast, betaSlow }: { originalTokens: number; betaFast: number; betaSlow: number },
): [low: number, high: number] {
  const pairAt = (turns: number) =>
    (dim * Math.log(originalTokens / (2 * Math.PI * turns))) / (2 * Math.log(base));
  const low = Math.max(Math.floor(pairAt(betaFast)), 0);
  const high = Math.min(Math.ceil(pairAt(betaSlow)), dim - 1);
  return [low, low === high ? high + 0.001 : high];
}

function clamped(x: number): number {
  return Math.min(1, Math.max(0, x));
}
