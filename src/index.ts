/**
 * Owns: the library's front door: what `import … from 'hadal'` gives.
 * Refuses to know: how any of it is done.
 */
export type { ConstraintSpec } from './chat/constraint.ts';
export type {
  Delta,
  Effort,
  FinishReason,
  Message,
  Tokens,
  ToolCall,
  ToolChoice,
  ToolDefinition,
} from './chat/delta.ts';
export type {
  EngineEvent,
  GenerateRequest,
  Pooling,
  Sampling,
  TokenLogprob,
  Usage,
} from './engine/request.ts';
export { HadalError } from './error.ts';
export { closeModelFile, openModelFile } from './formats/open.node.ts';
export type { MetaValue, ModelFile, TensorInfo } from './formats/tensor-info.ts';
export { describeModel, type ModelDescription } from './model/load.ts';
export type { Answerer, AnswerOptions } from './runtime/answerer.ts';
export type { Embedder, Embedding, EmbedOptions } from './runtime/embedder.ts';
export {
  type OpenedModel,
  type OpenOptions,
  openModel,
  openTokenizer,
} from './runtime/open.node.ts';
export type { Tokenizer } from './tokenizer/tokenizer.ts';
