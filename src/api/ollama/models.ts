/**
 * Owns: Ollama's documents on models: `/api/tags`, `/api/ps`, `/api/show`.
 * Refuses to know: where models are, HTTP.
 */
import { z } from 'zod';
import type { ChatSupport } from '../../chat/support.ts';
import { type FieldTable, honoured, noEffect } from '../fields.ts';
import { modelField } from './settings.ts';

/** What is known of a model from its file. */
export interface FileFacts {
  readonly bytes: number;
  readonly modifiedMs: number;
  readonly format: string;
  readonly architecture: string;
  readonly parameters: number;
  readonly mainType: string;
  readonly contextTokens: number;
  readonly chatTemplate: string;
  readonly chat: ChatSupport | undefined;
  readonly infill: boolean;
  readonly metadata: ReadonlyMap<string, string | number | boolean>;
  /** 64 hexadecimal digits that change when the file does. */
  readonly digest: string;
}

/** A model of a list; a file that cannot be read, or is not here yet, has no facts. */
export interface ListedModel {
  readonly name: string;
  readonly facts: FileFacts | undefined;
}

/** A loaded model. */
export interface RunningModel extends ListedModel {
  /** Bytes that it takes in memory. */
  readonly bytes: number;
  readonly contextTokens: number;
  /** When it is put out; undefined when it stays. */
  readonly expiresAtMs: number | undefined;
}

/** What Ollama says of a model that is never put out: a date that nobody reaches. */
const NEVER = '2318-01-01T00:00:00.000Z';

/** The body of `GET /api/tags`. Example: `tagsDocument([]) // { models: [] }` */
export function tagsDocument(models: readonly ListedModel[]): object {
  return {
    models: models.map(({ name, facts }) => ({
      name,
      model: name,
      modified_at: dateOf(facts),
      size: facts?.bytes ?? 0,
      digest: facts?.digest ?? '',
      details: detailsOf(facts),
    })),
  };
}

/** The body of `GET /api/ps`. Example: `psDocument([]) // { models: [] }` */
export function psDocument(models: readonly RunningModel[]): object {
  return {
    models: models.map(({ name, facts, bytes, contextTokens, expiresAtMs }) => ({
      name,
      model: name,
      size: bytes,
      digest: facts?.digest ?? '',
      details: detailsOf(facts),
      expires_at: expiresAtMs === undefined ? NEVER : new Date(expiresAtMs).toISOString(),
      size_vram: 0,
      context_length: contextTokens,
    })),
  };
}

/** The body of `POST /api/show`. */
export const showSchema = z.looseObject({ model: modelField, verbose: z.boolean().nullish() });

/** What becomes of every field of `/api/show`. */
export const SHOW_FIELDS: FieldTable = {
  model: honoured('a name of `GET /api/tags`'),
  verbose: noEffect('lists of the file are never shown', [false]),
  system: noEffect('nothing is changed by showing'),
  template: noEffect('nothing is changed by showing'),
  options: noEffect('nothing is changed by showing'),
};

/**
 * What `/api/show` says. The texts that only Ollama's own files have are empty.
 *
 * @example showDocument(facts);
 */
export function showDocument(facts: FileFacts): object {
  const { architecture, parameters, contextTokens, chat, infill, metadata } = facts;
  return {
    license: '',
    modelfile: '',
    parameters: '',
    template: facts.chatTemplate,
    details: detailsOf(facts),
    model_info: {
      ...Object.fromEntries(metadata),
      'general.architecture': architecture,
      'general.parameter_count': parameters,
      [`${architecture}.context_length`]: contextTokens,
    },
    capabilities: [
      'completion',
      ...(chat?.tools ? ['tools'] : []),
      ...(chat !== undefined && chat.thinking !== 'never' ? ['thinking'] : []),
      ...(infill ? ['insert'] : []),
    ],
    modified_at: dateOf(facts),
  };
}

function dateOf(facts: FileFacts | undefined): string {
  return new Date(facts?.modifiedMs ?? 0).toISOString();
}

function detailsOf(facts: FileFacts | undefined): object {
  const family = facts?.architecture ?? '';
  return {
    parent_model: '',
    format: facts?.format ?? '',
    family,
    families: family === '' ? [] : [family],
    parameter_size: facts === undefined ? '' : sizeWords(facts.parameters),
    quantization_level: facts?.mainType ?? '',
  };
}

/** `134.5M`, `7.2B`. */
function sizeWords(parameters: number): string {
  const [unit, letter] = parameters >= 1e9 ? [1e9, 'B'] : parameters >= 1e6 ? [1e6, 'M'] : [1e3, 'K'];
  return `${(parameters / unit).toFixed(1)}${letter}`;
}
