/**
 * Owns: llama.cpp's routes: `/infill`, `/tokenize`, `/detokenize`, `/props`.
 * Refuses to know: how their bodies are read and written (api/llama-cpp), how answers are made.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { z } from 'zod';
import { parseBody } from '../../api/fields.ts';
import { infillDocument, infillSchema, infillStream, parseInfill } from '../../api/llama-cpp/infill.ts';
import {
  DETOKENIZE_FIELDS,
  detokenizeSchema,
  propsDocument,
  TOKENIZE_FIELDS,
  tokenizeSchema,
  tokensInSteps,
} from '../../api/llama-cpp/tokens.ts';
import { HadalError } from '../../error.ts';
import { inTurns } from '../../runtime/in-turns.ts';
import type { ServerContext, ServerEnv, ServerParts } from '../context.ts';
import { OPENAI } from '../protocol.ts';
import { nameWithoutEffect, respond } from '../respond.ts';
import { withModel } from '../using.ts';
import { allowed, visible } from '../visible.ts';
import { describePost } from './openapi-parts.ts';

/** Adds the routes. */
export function llamaCpp(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  describePost(app, '/infill', 'Fill in the middle, as llama.cpp does', infillSchema);
  app.post('/infill', async (c) => {
    const { fields, withoutEffect } = parseInfill(c.get('body'), () => onlyModel(c, parts));
    return respond(c, parts, fields, {
      protocol: OPENAI,
      idPrefix: '',
      stream: infillStream,
      document: infillDocument,
      withoutEffect,
    });
  });
  describePost(app, '/tokenize', 'The tokens of a text', tokenizeSchema);
  app.post('/tokenize', async (c) => {
    const { fields, withoutEffect } = parseBody(tokenizeSchema, TOKENIZE_FIELDS, c.get('body'));
    nameWithoutEffect(c, withoutEffect);
    const name = fields.model ?? onlyModel(c, parts);
    return c.json(
      await withModel(c, parts, name, ({ answerer }, signal) =>
        inTurns(tokensInSteps(answerer.tokenizer, fields), signal),
      ),
    );
  });
  describePost(app, '/detokenize', 'The text of tokens', detokenizeSchema);
  app.post('/detokenize', async (c) => {
    const { fields, withoutEffect } = parseBody(detokenizeSchema, DETOKENIZE_FIELDS, c.get('body'));
    nameWithoutEffect(c, withoutEffect);
    const name = fields.model ?? onlyModel(c, parts);
    return c.json(
      await withModel(c, parts, name, ({ answerer: { tokenizer } }) => {
        const unknown = fields.tokens.find((id) => id >= tokenizer.vocabSize);
        if (unknown !== undefined) throw unknownToken(unknown, tokenizer.vocabSize);
        return { content: tokenizer.decode(fields.tokens, { special: true }) };
      }),
    );
  });
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: '/props',
    summary: 'What is known of the model, as llama.cpp tells it; `?model=` where several are served',
    request: { query: z.object({ model: z.string().optional() }) },
    responses: { 200: { description: 'The model' }, 404: { description: 'No such model' } },
  });
  app.get('/props', async (c) => {
    const { name, source } = allowed(parts.models, c.req.query('model') ?? onlyModel(c, parts), c.get('key'));
    const { chatTemplate, contextTokens } = await parts.facts(source);
    const loaded = parts.models.peek(name);
    const known = loaded?.answerer.contextTokens ?? contextTokens;
    return c.json(propsDocument({ name, chatTemplate, contextTokens: known, version: parts.version }));
  });
}

/** The model that is meant where none is named. */
function onlyModel(c: ServerContext, { models }: ServerParts): string {
  const names = visible(models, c.get('key'));
  const [only] = names;
  if (names.length === 1 && only !== undefined) return only;
  throw new HadalError('request-invalid', {
    what: 'model',
    expected: `a name, since ${names.length} models are served`,
    got: 'none',
    next: 'GET /v1/models lists them',
  });
}

function unknownToken(id: number, vocabSize: number): HadalError {
  return new HadalError('request-invalid', {
    what: 'tokens',
    expected: `ids below ${vocabSize}`,
    got: `${id}`,
    next: 'correct the request',
  });
}
