/**
 * Owns: Ollama's `/api/generate` request: its schema, its table of fields, what it asks for.
 * Refuses to know: HTTP, models, responses.
 */
import { z } from 'zod';
import { type FieldTable, honoured, type ParsedBody, parseBody, refused } from '../fields.ts';
import type { AnswerRequest } from '../request.ts';
import { noImages } from './images.ts';
import { SETTINGS_FIELDS, settingsOf, settingsShape } from './settings.ts';

/** The body of `POST /api/generate`. */
export const generateSchema = z.looseObject({
  ...settingsShape,
  prompt: z.string().nullish(),
  suffix: z.string().nullish(),
  system: z.string().nullish(),
  raw: z.boolean().nullish(),
  images: z.array(z.unknown()).nullish(),
});

/** What becomes of every field of `/api/generate`. */
export const GENERATE_FIELDS: FieldTable = {
  ...SETTINGS_FIELDS,
  prompt: honoured('a message of the user; without one the model is only loaded'),
  suffix: honoured('fill in what belongs between `prompt` and this'),
  system: honoured('a system message'),
  raw: honoured('the prompt is continued as it is'),
  images: honoured('none: these models read text'),
  template: refused("prompts are written in the model's own format: leave it out, or send `raw`", ['']),
  context: refused('send the conversation to /api/chat', [[]]),
};

/** A request; `undefined` asks only that the model be loaded, or put out. */
export interface ParsedGenerate {
  readonly model: string;
  readonly request: AnswerRequest | undefined;
  readonly keepAliveMs: number | undefined;
  readonly stream: boolean;
}

/**
 * Reads the body of a generate request.
 *
 * @throws HadalError `request-invalid`, `field-refused`, `content-unsupported`
 * @example parseGenerate({ model: 'toy', prompt: 'Hi' }).fields.request;
 */
export function parseGenerate(body: unknown): ParsedBody<ParsedGenerate> {
  const { fields, withoutEffect } = parseBody(generateSchema, GENERATE_FIELDS, body);
  const { settings, thinking, constraint, withoutEffect: more } = settingsOf(fields);
  noImages(fields.images, 'images');
  const { model, prompt, suffix, system } = fields;
  const base = { model, ...settings };
  const completes = fields.raw === true || !!suffix;
  const request: AnswerRequest = completes
    ? { kind: 'completion', ...base, prompts: [prompt ?? ''], ...(suffix ? { suffix } : {}) }
    : {
        kind: 'chat',
        ...base,
        ...thinking,
        ...constraint,
        tools: [],
        messages: [
          ...(system ? [{ role: 'system' as const, content: system }] : []),
          { role: 'user', content: prompt ?? '' },
        ],
      };
  const asks = !!prompt || !!suffix;
  return {
    fields: {
      model,
      request: asks ? request : undefined,
      keepAliveMs: settings.keepAliveMs,
      stream: settings.stream,
    },
    withoutEffect: [...withoutEffect, ...more],
  };
}
