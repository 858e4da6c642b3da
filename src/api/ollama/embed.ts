/**
 * Owns: Ollama's `/api/embed` and the older `/api/embeddings`: schemas, fields, meaning, documents.
 * Refuses to know: HTTP, models, how vectors come about.
 */
import { z } from 'zod';
import { dimensionsField, EMBEDDING_RULES, poolingField, textsField } from '../embedding.ts';
import { anyObject, type FieldTable, honoured, noEffect, type ParsedBody, parseBody } from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { EmbeddingAnswer, EmbeddingRequest } from '../request.ts';
import { modelField } from './settings.ts';

const shape = {
  model: modelField,
  pooling: poolingField,
  options: anyObject.nullish(),
  keep_alive: keepAliveField,
} as const;

/** The body of `POST /api/embed`. */
export const embedSchema = z.looseObject({
  ...shape,
  input: textsField.nullish(),
  truncate: z.boolean().nullish(),
  dimensions: dimensionsField,
});

/** The body of `POST /api/embeddings`. */
export const oldEmbedSchema = z.looseObject({ ...shape, prompt: z.string().nullish() });

const FIELDS: FieldTable = {
  model: honoured('a name of `GET /api/tags`, with or without `:latest`'),
  pooling: EMBEDDING_RULES.pooling,
  keep_alive: KEEP_ALIVE_RULE,
  options: noEffect('nothing is sampled, and the context is chosen when the server starts', [{}]),
};

/** What becomes of every field of `/api/embed`. */
export const EMBED_FIELDS: FieldTable = {
  ...FIELDS,
  input: honoured('a text, or a list of at most 2048; without one the model is only loaded'),
  dimensions: EMBEDDING_RULES.dimensions,
  truncate: noEffect('a text longer than the context is refused rather than cut', [false]),
};

/** What becomes of every field of `/api/embeddings`. */
export const OLD_EMBED_FIELDS: FieldTable = {
  ...FIELDS,
  prompt: honoured(
    'one text; without one the model is only loaded. The vector has length 1, as in `/api/embed`',
  ),
};

/** Reads either body into the neutral request; no inputs where the model is only to be loaded. */
type Reader = (body: unknown) => ParsedBody<EmbeddingRequest>;

/**
 * Reads the body of an embed request.
 *
 * @throws HadalError `request-invalid`, naming the field
 * @example parseEmbed({ model: 'toy', input: ['a', 'b'] }).fields.inputs; // ['a', 'b']
 */
export const parseEmbed: Reader = (body) => {
  const { fields, withoutEffect } = parseBody(embedSchema, EMBED_FIELDS, body);
  const { dimensions } = fields;
  const inputs = [fields.input || []].flat();
  return {
    fields: { ...neutral(fields), inputs, ...(dimensions == null ? {} : { dimensions }) },
    withoutEffect,
  };
};

/**
 * Reads the body of the older request.
 *
 * @throws HadalError `request-invalid`, naming the field
 * @example parseOldEmbed({ model: 'toy', prompt: 'a' }).fields.inputs; // ['a']
 */
export const parseOldEmbed: Reader = (body) => {
  const { fields, withoutEffect } = parseBody(oldEmbedSchema, OLD_EMBED_FIELDS, body);
  return { fields: { ...neutral(fields), inputs: fields.prompt ? [fields.prompt] : [] }, withoutEffect };
};

function neutral({ model, pooling, keep_alive: keepAlive }: z.output<z.ZodObject<typeof shape>>) {
  const keepAliveMs = keepAliveOf(keepAlive ?? undefined);
  return {
    model,
    ...(pooling == null ? {} : { pooling }),
    ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
  };
}

const NS_PER_MS = 1e6;

/** The document of `/api/embed`. Example: `embedDocument('toy', answer)` */
export function embedDocument(model: string, answer: EmbeddingAnswer): object {
  return {
    model,
    embeddings: answer.vectors.map((vector) => Array.from(vector)),
    total_duration: Math.round(answer.totalMs * NS_PER_MS),
    load_duration: Math.round(answer.loadMs * NS_PER_MS),
    prompt_eval_count: answer.promptTokens,
  };
}

/** The document of `/api/embeddings`. Example: `oldEmbedDocument('toy', answer)` */
export function oldEmbedDocument(_model: string, { vectors }: EmbeddingAnswer): object {
  return { embedding: Array.from(vectors[0] ?? []) };
}
