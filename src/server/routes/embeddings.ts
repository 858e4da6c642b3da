/**
 * Owns: `POST …/embeddings` as OpenAI has it; `POST /api/embed` and `POST /api/embeddings` as Ollama has them.
 * Refuses to know: how their bodies are read and written (api/), how vectors are made.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import {
  embedDocument,
  embedSchema,
  oldEmbedDocument,
  oldEmbedSchema,
  parseEmbed,
  parseOldEmbed,
} from '../../api/ollama/embed.ts';
import { embeddingsDocument, embeddingsSchema, parseEmbeddings } from '../../api/openai/embeddings.ts';
import type { ServerContext, ServerEnv, ServerParts } from '../context.ts';
import { embedAll } from '../embedding.ts';
import { WITHOUT_EFFECT_HEADER } from '../respond.ts';
import { answerResponses, jsonBody, OPENAI_BASES } from './openapi-parts.ts';

/** Adds the routes. */
export function embeddings(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const post = (
    path: string,
    summary: string,
    schema: Parameters<typeof jsonBody>[0],
    answer: (c: ServerContext) => Promise<{ document: object; withoutEffect: readonly string[] }>,
  ) => {
    app.openAPIRegistry.registerPath({
      method: 'post',
      path,
      summary,
      request: jsonBody(schema),
      responses: answerResponses,
    });
    app.post(path, async (c) => {
      const { document, withoutEffect } = await answer(c);
      if (withoutEffect.length > 0) c.header(WITHOUT_EFFECT_HEADER, withoutEffect.join(', '));
      return c.json(document);
    });
  };
  for (const base of OPENAI_BASES) {
    post(`${base}/embeddings`, 'Make vectors of texts', embeddingsSchema, async (c) => {
      const { fields, withoutEffect } = parseEmbeddings(c.get('body'));
      const { request, encoding } = fields;
      const answer = await embedAll(c, parts, request);
      return { document: embeddingsDocument(request.model, answer, encoding), withoutEffect };
    });
  }
  for (const [path, schema, parse, write] of [
    ['/api/embed', embedSchema, parseEmbed, embedDocument],
    ['/api/embeddings', oldEmbedSchema, parseOldEmbed, oldEmbedDocument],
  ] as const) {
    post(path, "Make vectors of texts, in Ollama's terms", schema, async (c) => {
      const { fields, withoutEffect } = parse(c.get('body'));
      const answer = await embedAll(c, parts, fields);
      return { document: write(fields.model, answer), withoutEffect };
    });
  }
}
