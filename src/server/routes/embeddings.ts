/**
 * Owns: `POST …/embeddings` as OpenAI has it; `POST /api/embed` and `POST /api/embeddings` as Ollama has them.
 * Refuses to know: how their bodies are read and written (api/), how vectors are made.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { z } from 'zod';
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
import { nameWithoutEffect } from '../respond.ts';
import { describePost, OPENAI_BASES } from './openapi-parts.ts';

/** Adds the routes. */
export function embeddings(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const post = (
    path: string,
    summary: string,
    schema: z.ZodType,
    answer: (c: ServerContext) => Promise<{ document: object; withoutEffect: readonly string[] }>,
  ) => {
    describePost(app, path, summary, schema);
    app.post(path, async (c) => {
      const { document, withoutEffect } = await answer(c);
      nameWithoutEffect(c, withoutEffect);
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
