/**
 * Owns: what a model says of where it comes from: keys of GGUF, how a folder was quantized, what an adapter adapts.
 * Refuses to know: whether any of it is true.
 */
import { CONFIG_JSON } from '../formats/hf-folder.ts';
import type { MetaValue, ModelFile } from '../formats/tensor-info.ts';

/** Beside the tensors of an adapter, as PEFT writes it. */
export const ADAPTER_CONFIG_JSON = 'adapter_config.json';

/** What a bill of materials takes of an adapter's configuration. */
const OF_ADAPTERS = ['base_model_name_or_path', 'revision', 'peft_type', 'task_type', 'r', 'lora_alpha'];

/**
 * What a model says of itself in single values: those of GGUF, and of a folder how it was quantized.
 *
 * @example saidOf(file).find(([key]) => key === 'general.name')
 */
export function saidOf({ format, metadata }: ModelFile): [string, MetaValue][] {
  if (format === 'gguf') return [...metadata].filter(([, value]) => typeof value !== 'object');
  const { quantization_config: quantization } = objectOf(String(metadata.get(CONFIG_JSON) ?? '{}'));
  if (typeof quantization !== 'object' || quantization === null) return [];
  return Object.entries(quantization).flatMap(([key, value]) =>
    isSingle(value) ? [[`quantization_config.${key}`, value]] : [],
  );
}

/**
 * What an adapter's configuration says of its base and its kind, where the text is one.
 *
 * @example saidOfAdapter('{"base_model_name_or_path": "org/base", "peft_type": "LORA"}')
 */
export function saidOfAdapter(text: string): [string, MetaValue][] {
  const json = objectOf(text);
  return OF_ADAPTERS.flatMap((key): [string, MetaValue][] => {
    const value = json[key];
    return isSingle(value) ? [[key, value]] : [];
  });
}

function isSingle(value: unknown): value is string | number | boolean {
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';
}

function objectOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const json: unknown = JSON.parse(text);
    return typeof json === 'object' && json !== null ? (json as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
