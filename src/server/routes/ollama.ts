/**
 * Owns: Ollama's routes under `/api`: answers, lists of models, what is known of one.
 * Refuses to know: how their bodies are read and written (api/ollama), how answers are made.
 */
import { createHash } from 'node:crypto';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { parseBody } from '../../api/fields.ts';
import { chatSchema, parseChat } from '../../api/ollama/chat-request.ts';
import { generateSchema, parseGenerate } from '../../api/ollama/generate-request.ts';
import {
  type FileFacts,
  psDocument,
  SHOW_FIELDS,
  showDocument,
  showSchema,
  tagsDocument,
} from '../../api/ollama/models.ts';
import { type OllamaKind, ollamaDocument, ollamaLoaded, ollamaStream } from '../../api/ollama/response.ts';
import type { AnswerRequest } from '../../api/request.ts';
import { HadalError } from '../../error.ts';
import type { ServerContext, ServerEnv, ServerParts } from '../context.ts';
import type { ServedModel } from '../models.ts';
import { OLLAMA } from '../protocol.ts';
import { nameWithoutEffect, respond } from '../respond.ts';
import { withModel } from '../using.ts';
import { allowed, visible } from '../visible.ts';
import { describePost } from './openapi-parts.ts';

/** What both answering requests come to. */
interface Asked {
  readonly model: string;
  readonly request: AnswerRequest | undefined;
  readonly keepAliveMs: number | undefined;
}

/** Adds the routes. */
export function ollama(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  answering(app, parts);
  listing(app, parts);
}

function answering(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const routes = [
    ['chat', 'Answer a conversation', chatSchema, parseChat],
    ['generate', 'Answer a prompt, continue a text, or fill in its middle', generateSchema, parseGenerate],
  ] as const;
  for (const [kind, summary, schema, parse] of routes) {
    describePost(app, `/api/${kind}`, `${summary}, in Ollama's terms`, schema);
    app.post(`/api/${kind}`, async (c) => {
      const { fields, withoutEffect } = parse(c.get('body'));
      if (fields.request === undefined) return await loadOnly(c, parts, kind, fields);
      return respond(c, parts, fields.request, {
        protocol: OLLAMA,
        idPrefix: '',
        stream: (context) => ollamaStream(kind, context),
        document: (deltas, context) => ollamaDocument(kind, deltas, context),
        withoutEffect,
      });
    });
  }
}

/** A request without a prompt loads its model; with a `keep_alive` of 0 it puts it out. */
async function loadOnly(
  c: ServerContext,
  parts: ServerParts,
  kind: OllamaKind,
  { model, keepAliveMs }: Asked,
): Promise<Response> {
  const { name } = allowed(parts.models, model, c.get('key'));
  // Nothing is loaded only to be put out.
  if (keepAliveMs !== 0 || parts.models.peek(name)) {
    await withModel(c, parts, name, () => undefined, keepAliveMs);
  }
  return c.json(ollamaLoaded(kind, model, keepAliveMs === 0 ? 'unload' : 'load', new Date()));
}

function listing(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const facts = withDigest(parts);
  const shown = (c: ServerContext) => {
    const names = visible(parts.models, c.get('key'));
    return parts.models.status().filter(({ model }) => names.includes(model.name));
  };
  const get = (path: string, summary: string, body: (c: ServerContext) => object | Promise<object>) => {
    app.openAPIRegistry.registerPath({
      method: 'get',
      path,
      summary: `${summary}, in Ollama's terms`,
      responses: { 200: { description: 'Always' } },
    });
    app.get(path, async (c) => c.json(await body(c)));
  };
  get('/api/version', 'The version of this server', () => ({ version: parts.version }));
  get('/api/tags', 'List the models', async (c) =>
    tagsDocument(
      await Promise.all(shown(c).map(async ({ model }) => ({ name: model.name, facts: await facts(model) }))),
    ),
  );
  get('/api/ps', 'List the loaded models', async (c) => {
    const loaded = shown(c).filter(({ state }) => state === 'ready');
    const all = loaded.map(async ({ model, bytes = 0, expiresAtMs }) => ({
      name: model.name,
      facts: await facts(model),
      bytes,
      contextTokens: parts.models.peek(model.name)?.answerer.contextTokens ?? 0,
      expiresAtMs,
    }));
    return psDocument(await Promise.all(all));
  });
  describePost(app, '/api/show', "Show one model, in Ollama's terms", showSchema);
  app.post('/api/show', async (c) => {
    const { fields, withoutEffect } = parseBody(showSchema, SHOW_FIELDS, c.get('body'));
    nameWithoutEffect(c, withoutEffect);
    const known = await facts(allowed(parts.models, fields.model, c.get('key')));
    if (known !== undefined) return c.json(showDocument(known));
    throw new HadalError('model-unloadable', {
      what: `the model ${fields.model}`,
      expected: 'its file on this machine',
      got: 'none that can be read',
      next: 'ask it something: it is fetched then',
    });
  });
}

/** The facts of a model, with a digest that changes with its file; none where the file cannot be read. */
function withDigest({ facts: read }: ServerParts): (model: ServedModel) => Promise<FileFacts | undefined> {
  return async ({ source }) => {
    try {
      const known = await read(source);
      const identity = JSON.stringify([source, known.bytes, known.modifiedMs]);
      return { ...known, digest: createHash('sha256').update(identity).digest('hex') };
    } catch (error) {
      if (error instanceof HadalError) return undefined;
      throw error;
    }
  };
}
