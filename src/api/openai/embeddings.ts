/**
 * Owns: OpenAI's `embeddings`: schema, fields, meaning, and the document of an answer.
 * Refuses to know: HTTP, models, how vectors come about.
 */
import { z } from 'zod';
import { dimensionsField, EMBEDDING_RULES, inputsField, inputsOf, poolingField } from '../embedding.ts';
import { type FieldTable, honoured, noEffect, type ParsedBody, parseBody } from '../fields.ts';
import { KEEP_ALIVE_RULE, keepAliveField, keepAliveOf } from '../keep-alive.ts';
import type { EmbeddingAnswer, EmbeddingRequest } from '../request.ts';

/** The body of `POST /v1/embeddings`. */
export const embeddingsSchema = z.looseObject({
  model: z.string().min(1).max(256),
  input: inputsField,
  encoding_format: z.enum(['float', 'base64']).nullish(),
  dimensions: dimensionsField,
  pooling: poolingField,
  keep_alive: keepAliveField,
});

/** What becomes of every field of `embeddings`. */
export const EMBEDDINGS_FIELDS: FieldTable = {
  model: honoured('a name of `GET /v1/models`'),
  input: honoured(
    'a text, token ids, or a list of at most 2048 of either; longer than the context is refused',
  ),
  encoding_format: honoured('`float`, or `base64` of little-endian float32'),
  ...EMBEDDING_RULES,
  keep_alive: KEEP_ALIVE_RULE,
  user: noEffect('nothing is kept by user'),
};

/** A request for embeddings, and how its answer is written. */
export interface ParsedEmbeddings {
  readonly request: EmbeddingRequest;
  readonly encoding: 'float' | 'base64';
}

/**
 * Reads the body of an `embeddings` request.
 *
 * @throws HadalError `request-invalid`, naming the field
 * @example parseEmbeddings({ model: 'smollm2-135m', input: 'a rainy day' }).fields.request.inputs;
 */
export function parseEmbeddings(body: unknown): ParsedBody<ParsedEmbeddings> {
  const { fields, withoutEffect } = parseBody(embeddingsSchema, EMBEDDINGS_FIELDS, body);
  const { model, input, encoding_format: encoding, dimensions, pooling } = fields;
  const keepAliveMs = keepAliveOf(fields.keep_alive ?? undefined);
  return {
    fields: {
      request: {
        model,
        inputs: inputsOf(input),
        ...(pooling == null ? {} : { pooling }),
        ...(dimensions == null ? {} : { dimensions }),
        ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
      },
      encoding: encoding ?? 'float',
    },
    withoutEffect,
  };
}

/**
 * The document of an `embeddings` answer.
 *
 * @example embeddingsDocument('smollm2-135m', answer, 'float');
 */
export function embeddingsDocument(
  model: string,
  { vectors, promptTokens }: EmbeddingAnswer,
  encoding: ParsedEmbeddings['encoding'],
): object {
  return {
    object: 'list',
    data: vectors.map((vector, index) => ({
      object: 'embedding',
      index,
      embedding: encoding === 'float' ? Array.from(vector) : base64Of(vector),
    })),
    model,
    usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
  };
}

/** Little-endian float32 as base64. */
function base64Of(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(vector.length * 4));
  for (const [i, number] of vector.entries()) bytes.setFloat32(i * 4, number, true);
  let text = '';
  for (let i = 0; i < bytes.byteLength; i++) text += String.fromCharCode(bytes.getUint8(i));
  return btoa(text);
}
