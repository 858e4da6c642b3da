/**
 * Owns: multi-token prediction: the block after the last layer that guesses the token after the next one.
 * Refuses to know: how guesses are verified, what a sublayer computes, the layers before it.
 *
 * Source: DeepSeek-V3 (arXiv 2412.19437, section 2.2) and its README_WEIGHTS.md. Row t takes the model's hidden state of
 * token t, after the last norm, and the embedding of token t + 1, and keeps cache row t of its own stream; its logits
 * are of token t + 2. To guess further it takes its own hidden state in place of the model's. Embedding and head are the
 * model's: the copies that published folders have of them are not read.
 */
import type { Backend, Batch, Tensor } from '../backend/backend.ts';
import type { ModelConfig } from './config.ts';
import type { Sublayer, Workshop } from './decoder.ts';
import type { CacheStream } from './model.ts';
import type { TensorSpec, Weights } from './weights.ts';

/** Whose hidden states a pass of the predictor begins with: all rows of the model's last step, or its own last outputs. */
export type HiddenFrom = 'model' | 'predictor';

/**
 * One pass over `batch`, whose `tokens` are those after the rows' positions: row i goes on from row `sources[i]` (I32)
 * of the hidden states. Returns the logits [batch.outputSpan.rows, vocabSize] of the wanted rows.
 */
export type Predict = (backend: Backend, batch: Batch, from: HiddenFrom, sources: Tensor) => Tensor;

/** A predictor laid out for one config: nothing is loaded yet. */
export interface PredictorLayout {
  readonly specs: readonly TensorSpec[];
  readonly streams: readonly CacheStream[];
  build(weights: Weights, workshop: Workshop, shared: PredictorInputs): Predict;
}

/** What the predictor has of the model. */
export interface PredictorInputs {
  /** The model's hidden states after the last norm [maxRows, hidden]. */
  readonly hidden: Tensor;
  readonly maxRows: number;
  readonly maxOutputs: number;
}

/**
 * The predictor of a model: `sublayers` are attention and feed-forward of layer `config.layers`.
 *
 * @example predictor(config, [latentAttention(config, 61, 'split'), moe(config, 61)])
 */
export function predictor(config: ModelConfig, sublayers: readonly Sublayer[]): PredictorLayout {
  const { hidden, vocabSize, normEps, layers } = config;
  const nextn = `blk.${layers}.nextn.`;
  return {
    specs: [
      ...sublayers.flatMap(({ specs }) => specs),
      { name: `${nextn}eh_proj.weight`, shape: [2 * hidden, hidden] },
      { name: `${nextn}enorm.weight`, shape: [hidden] },
      { name: `${nextn}hnorm.weight`, shape: [hidden] },
      { name: `${nextn}shared_head_norm.weight`, shape: [hidden] },
    ].map((spec) => ({ ...spec, part: 'predictor' })),
    streams: sublayers.flatMap(({ streams }) => streams),
    build(weights, workshop, { hidden: ofModel, maxRows, maxOutputs }) {
      const { backend: memory } = workshop;
      const weight = (name: string) => weights.get(`${nextn}${name}.weight`);
      const x = memory.tensor('F32', maxRows, hidden);
      const pair = memory.tensor('F32', maxRows, 2 * hidden);
      const e = memory.columns(pair, 0, hidden);
      const h = memory.columns(pair, hidden, hidden);
      const own = memory.tensor('F32', maxOutputs, hidden);
      const logits = memory.tensor('F32', maxOutputs, vocabSize);
      // Choices of its experts are not those of the model: they are not counted.
      const steps = sublayers.map((of) => of.build(weights, { ...workshop, x, counts: () => undefined }));
      const [eNorm, hNorm, headNorm] = [weight('enorm'), weight('hnorm'), weight('shared_head_norm')];
      const joined = [{ weight: weight('eh_proj'), out: x }];
      const tokenEmbd = weights.get('token_embd.weight'); // [vocab, d]
      const output = weights.find('output.weight') ?? tokenEmbd; // [vocab, d]
      return (on, batch, from, sources) => {
        on.embed(batch, x, tokenEmbd, batch.tokens); // [n, d]
        on.rmsNorm(batch, e, x, eNorm, normEps);
        on.gather(batch, x, from === 'model' ? ofModel : own, sources); // [n, d]
        on.rmsNorm(batch, h, x, hNorm, normEps);
        on.matmul(batch, pair, joined); // [n, d]
        for (const step of steps) {
          step(on, batch);
          on.checkpoint();
        }
        on.gather(batch.outputSpan, own, x, batch.outputs); // [m, d]
        on.rmsNorm(batch.outputSpan, own, own, headNorm, normEps);
        on.matmul(batch.outputSpan, own, [{ weight: output, out: logits }]); // [m, vocab]
        return logits;
      };
    },
  };
}
