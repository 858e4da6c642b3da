/**
 * Owns: Ollama's `/api/pull` and `/api/delete`: schemas, fields, and the lines that tell of a pull.
 * Refuses to know: HTTP, where models come from and lie.
 */
import { z } from 'zod';
import { HadalError } from '../../error.ts';
import { type FieldTable, honoured, noEffect, type ParsedBody, parseBody, refused } from '../fields.ts';
import type { StreamEvent } from '../request.ts';
import { modelField } from './settings.ts';

const names = { model: modelField.nullish(), name: modelField.nullish() } as const;

/** The body of `POST /api/pull`. */
export const pullSchema = z.looseObject({ ...names, stream: z.boolean().nullish() });
/** The body of `DELETE /api/delete`. */
export const deleteSchema = z.looseObject(names);

const NAME_RULE = honoured('the same, as older clients have it');

/** What becomes of every field of `/api/pull`. */
export const PULL_FIELDS: FieldTable = {
  model: honoured(
    'a name of `hadal pull`: a known one, or `USER/REPO:QUANTIZATION` of the hub; no addresses',
  ),
  name: NAME_RULE,
  stream: honoured('lines of JSON, unless false'),
  insecure: noEffect('what is fetched is always checked, and from the hub of the server', [false]),
  username: refused('the token of the server is used: HF_TOKEN', ['']),
  password: refused('the token of the server is used: HF_TOKEN', ['']),
};

/** What becomes of every field of `/api/delete`. */
export const DELETE_FIELDS: FieldTable = {
  model: honoured('a model that was pulled here; one that is pinned, in use or configured by its path stays'),
  name: NAME_RULE,
};

/**
 * Reads the body of a pull.
 *
 * @throws HadalError `request-invalid`, `field-refused`
 * @example parsePull({ model: 'hf.co/unsloth/DeepSeek-R1-GGUF:Q4_K_M' }).fields.stream; // true
 */
export function parsePull(body: unknown): ParsedBody<{ readonly model: string; readonly stream: boolean }> {
  const { fields, withoutEffect } = parseBody(pullSchema, PULL_FIELDS, body);
  return { fields: { model: nameOf(fields), stream: fields.stream ?? true }, withoutEffect };
}

/**
 * Reads the body of a delete.
 *
 * @throws HadalError `request-invalid`
 * @example parseDelete({ model: 'smollm2-135m' }).fields.model;
 */
export function parseDelete(body: unknown): ParsedBody<{ readonly model: string }> {
  const { fields, withoutEffect } = parseBody(deleteSchema, DELETE_FIELDS, body);
  return { fields: { model: nameOf(fields) }, withoutEffect };
}

function nameOf({ model, name }: z.output<typeof deleteSchema>): string {
  const given = model ?? name;
  if (given != null) return given;
  throw new HadalError('request-invalid', {
    what: 'model',
    expected: 'the name of a model',
    got: 'none',
    next: 'correct the request',
  });
}

/** What a pull is at. */
export type PullStep =
  | { readonly stage: 'begin' | 'done' }
  | {
      readonly stage: 'fetch' | 'verify';
      /** SHA-256 of its largest file. */
      readonly sha256: string;
      readonly doneBytes: number;
      readonly totalBytes: number;
    };

/**
 * A step as a line in Ollama's words; clients draw progress by `digest`.
 *
 * @example pullLine({ stage: 'done' }).data; // '{"status":"success"}'
 */
export function pullLine(step: PullStep): StreamEvent {
  return { data: JSON.stringify(lineOf(step)) };
}

/** The document of a pull that is not streamed. */
export const PULLED = { status: 'success' } as const;

function lineOf(step: PullStep): object {
  switch (step.stage) {
    case 'begin':
      return { status: 'pulling manifest' };
    case 'done':
      return PULLED;
    case 'verify':
      return { status: 'verifying sha256 digest' };
    case 'fetch': {
      const { sha256, doneBytes, totalBytes } = step;
      const status = `pulling ${sha256.slice(0, 12)}`;
      return { status, digest: `sha256:${sha256}`, total: totalBytes, completed: doneBytes };
    }
  }
}
