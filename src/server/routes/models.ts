/**
 * Owns: `GET …/models` and `GET …/models/{model}`.
 * Refuses to know: how models are loaded.
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { type ListedModel, modelDocument, modelsDocument } from '../../api/openai/models.ts';
import type { ServerEnv, ServerParts } from '../context.ts';
import type { ModelStatus } from '../models.ts';
import { allowed, visible } from '../visible.ts';
import { modelInPath, OPENAI_BASES } from './openapi-parts.ts';

/** Adds both routes under every base. */
export function models(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const startedSeconds = Math.floor(Date.now() / 1000);
  const listed = ({ model, state }: ModelStatus): ListedModel => ({
    name: model.name,
    state,
    contextTokens: parts.models.peek(model.name)?.answerer.contextTokens,
  });
  for (const base of OPENAI_BASES) {
    app.openAPIRegistry.registerPath({
      method: 'get',
      path: `${base}/models`,
      summary: 'List the models',
      responses: { 200: { description: 'The models that may be asked' } },
    });
    app.get(`${base}/models`, (c) => {
      const names = visible(parts.models, c.get('key'));
      const shown = parts.models.status().filter(({ model }) => names.includes(model.name));
      return c.json(modelsDocument(shown.map(listed), startedSeconds));
    });
    app.openAPIRegistry.registerPath({
      method: 'get',
      path: `${base}/models/{model}`,
      summary: 'Show one model',
      request: modelInPath,
      responses: {
        200: { description: 'The model' },
        403: { description: 'Not for this key' },
        404: { description: 'No such model' },
      },
    });
    app.get(`${base}/models/:model`, (c) => {
      const { name } = allowed(parts.models, c.req.param('model'), c.get('key'));
      const status = parts.models.status().find(({ model }) => model.name === name)!;
      return c.json(modelDocument(listed(status), startedSeconds));
    });
  }
}
