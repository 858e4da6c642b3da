/**
 * Owns: llama.cpp's `/tokenize`, `/detokenize` and `/props`: schemas, tables of fields, documents.
 * Refuses to know: HTTP, models, how text is cut.
 */
import { z } from 'zod';
import type { Steps, Tokenizer } from '../../tokenizer/tokenizer.ts';
import { type FieldTable, honoured } from '../fields.ts';
import { modelField } from './infill.ts';

const MODEL_RULE = honoured('a name of `GET /v1/models`; the only one that is served otherwise');

/** The body of `POST /tokenize`. */
export const tokenizeSchema = z.looseObject({
  model: modelField,
  content: z.string(),
  add_special: z.boolean().nullish(),
  parse_special: z.boolean().nullish(),
  with_pieces: z.boolean().nullish(),
});

/** What becomes of every field of `/tokenize`. */
export const TOKENIZE_FIELDS: FieldTable = {
  model: MODEL_RULE,
  content: honoured('the text'),
  add_special: honoured('with the beginning-of-sequence token; off otherwise'),
  parse_special: honoured('special tokens in the text are recognised, unless false'),
  with_pieces: honoured('with the text of each token, or its bytes where they are no text'),
};

/** The body of `POST /detokenize`. */
export const detokenizeSchema = z.looseObject({
  model: modelField,
  tokens: z.array(z.int().min(0)).max(1 << 20),
});

/** What becomes of every field of `/detokenize`. */
export const DETOKENIZE_FIELDS: FieldTable = { model: MODEL_RULE, tokens: honoured('ids of the vocabulary') };

/**
 * The ids of a text, as `/tokenize` gives them, in steps.
 *
 * @example finished(tokensInSteps(tokenizer, { content: 'Hello' })); // { tokens: [9707] }
 */
export function* tokensInSteps(tokenizer: Tokenizer, fields: z.output<typeof tokenizeSchema>): Steps<object> {
  const { parse_special: special, add_special: bos } = fields;
  const options = { special: special ?? true, bos: bos ?? false };
  const ids = [...(yield* tokenizer.encodeInSteps(fields.content, options))];
  return { tokens: fields.with_pieces ? ids.map((id) => ({ id, piece: pieceOf(tokenizer, id) })) : ids };
}

function pieceOf(tokenizer: Tokenizer, id: number): string | number[] {
  const bytes = tokenizer.bytesOf(id);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return [...bytes];
  }
}

/** What `/props` tells of a loaded model. */
export interface Props {
  readonly name: string;
  readonly contextTokens: number;
  readonly chatTemplate: string;
  readonly version: string;
}

/** The body of `GET /props`. Example: `propsDocument(props)` */
export function propsDocument({ name, contextTokens, chatTemplate, version }: Props): object {
  return {
    default_generation_settings: { n_ctx: contextTokens },
    model_alias: name,
    chat_template: chatTemplate,
    modalities: { vision: false, audio: false },
    build_info: `hadal ${version}`,
  };
}
