/**
 * Owns: what the texts of a Hugging Face folder say beside the model: how it is sampled, what ends an answer, its chat
 * template.
 * Refuses to know: files, what is done with any of it.
 */
import type { Sampling } from '../engine/request.ts';
import { HadalError } from '../error.ts';
import { CHAT_TEMPLATE, CONFIG_JSON, GENERATION_JSON, TOKENIZER_CONFIG_JSON } from '../formats/hf-folder.ts';
import type { MetaValue } from '../formats/tensor-info.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * The sampling that a folder's generation_config.json asks for, or undefined where it says nothing of it. A folder that
 * does not sample (`do_sample: false`) always takes the likeliest token.
 *
 * @throws HadalError `folder-json` for a text that is no JSON object or a field of the wrong type.
 * @example samplingOfFolder(file.metadata) // { temperature: 0.6, topP: 0.95 }
 */
export function samplingOfFolder(metadata: ReadonlyMap<string, MetaValue>): Partial<Sampling> | undefined {
  const json = jsonOf(metadata, GENERATION_JSON);
  if (json.do_sample === false) return { temperature: 0 };
  const given = Object.entries(SAMPLING_FIELDS).flatMap(([field, name]) => {
    const value = json[field] ?? undefined;
    if (value === undefined) return [];
    if (typeof value === 'number' && Number.isFinite(value) && value >= 0) return [[name, value] as const];
    throw wrong(`field "${field}" of ${GENERATION_JSON}`, 'a number from 0 up', JSON.stringify(value));
  });
  return given.length === 0 ? undefined : Object.fromEntries(given);
}

/** Fields of generation_config.json that say how tokens are chosen, and ours. */
const SAMPLING_FIELDS: Readonly<Record<string, keyof Sampling>> = {
  temperature: 'temperature',
  top_p: 'topP',
  top_k: 'topK',
  min_p: 'minP',
  repetition_penalty: 'repetitionPenalty',
};

/**
 * The ids that end an answer by generation_config.json, or else by config.json.
 *
 * @throws HadalError `folder-json`
 * @example endIdsOfFolder(file.metadata) // [1]
 */
export function endIdsOfFolder(metadata: ReadonlyMap<string, MetaValue>): readonly number[] {
  for (const name of [GENERATION_JSON, CONFIG_JSON]) {
    const value = jsonOf(metadata, name).eos_token_id ?? undefined;
    if (value === undefined) continue;
    const ids: unknown[] = Array.isArray(value) ? value : [value];
    if (ids.every((id) => typeof id === 'number' && Number.isInteger(id) && id >= 0)) return ids as number[];
    throw wrong(`field "eos_token_id" of ${name}`, 'a token id, or a list of them', JSON.stringify(value));
  }
  return [];
}

/**
 * The chat template of a folder: that of its own file, else that of tokenizer_config.json (the one called "default"
 * where it has several); undefined where there is none.
 *
 * @throws HadalError `folder-json`
 * @example chatTemplateOfFolder(file.metadata)
 */
export function chatTemplateOfFolder(metadata: ReadonlyMap<string, MetaValue>): string | undefined {
  const own = metadata.get(CHAT_TEMPLATE);
  if (typeof own === 'string') return own;
  const value = jsonOf(metadata, TOKENIZER_CONFIG_JSON).chat_template ?? undefined;
  if (value === undefined || typeof value === 'string') return value;
  const named = Array.isArray(value) ? (value as Json[]).find((item) => item?.name === 'default') : undefined;
  if (typeof named?.template === 'string') return named.template;
  throw wrong(`field "chat_template" of ${TOKENIZER_CONFIG_JSON}`, 'a template', 'something else');
}

/**
 * A text of a folder as a JSON object; an empty one where there is no such text.
 *
 * @throws HadalError `folder-json` where it is none.
 * @example jsonOf(file.metadata, 'tokenizer_config.json').bos_token
 */
export function jsonOf(metadata: ReadonlyMap<string, MetaValue>, name: string): Json {
  const text = metadata.get(name);
  if (text === undefined) return {};
  try {
    const json: unknown = JSON.parse(String(text));
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Json;
  } catch {
    // Falls through to the one error below.
  }
  throw wrong(name, 'a JSON object', 'other text');
}

function wrong(what: string, expected: string, got: string): HadalError {
  return new HadalError('folder-json', {
    what,
    expected,
    got: got.slice(0, 60),
    next: 'fetch the file again',
  });
}
