/**
 * Owns: how a model's file says that its hidden states become one vector.
 * Refuses to know: hidden states, engines, files.
 */
import type { Pooling } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import { POOLING_JSON } from '../formats/hf-folder.ts';
import type { MetaValue } from '../formats/tensor-info.ts';
import { jsonOf } from './hf-settings.ts';

/** GGUF's `pooling_type`; 0 is none: the file leaves the choice. Source: `llama_pooling_type` of llama.h. */
const GGUF_POOLINGS: Readonly<Record<number, Pooling | undefined>> = { 0: undefined, 1: 'mean', 3: 'last' };
/** Of a sentence-transformers folder; exactly one is true. */
const FOLDER_POOLINGS: Readonly<Record<string, Pooling>> = {
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_lasttoken: 'last',
};

/**
 * How a file wants its hidden states pooled; undefined where it does not say.
 *
 * @throws HadalError `pooling-unsupported` where it wants what this engine does not do; `folder-json`
 * @example poolingOf(new Map([['llama.pooling_type', 3]]), 'llama'); // 'last'
 */
export function poolingOf(
  metadata: ReadonlyMap<string, MetaValue>,
  architecture: string,
): Pooling | undefined {
  const type = metadata.get(`${architecture}.pooling_type`);
  if (type !== undefined) {
    if (typeof type === 'number' && type in GGUF_POOLINGS) return GGUF_POOLINGS[type];
    throw unsupported(`${architecture}.pooling_type`, '0, 1 (mean) or 3 (last)', String(type));
  }
  const modes = Object.entries(jsonOf(metadata, POOLING_JSON)).filter(
    ([name, on]) => name.startsWith('pooling_mode_') && on === true,
  );
  if (modes.length === 0) return undefined;
  const pooling = modes.length === 1 ? FOLDER_POOLINGS[modes[0]![0]] : undefined;
  if (pooling !== undefined) return pooling;
  const known = Object.keys(FOLDER_POOLINGS).join(' or ');
  throw unsupported(POOLING_JSON, known, modes.map(([name]) => name).join(', '));
}

function unsupported(what: string, expected: string, got: string): HadalError {
  const next = 'ask for `pooling` "mean" or "last" if that is what you want, or take another model';
  return new HadalError('pooling-unsupported', { what, expected, got, next });
}
