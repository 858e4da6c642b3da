/**
 * Owns: this project's own routes: how the machine does, and loading, unloading and pinning models.
 * Refuses to know: how models are loaded, how the documents look (api/hadal).
 */
import type { OpenAPIHono } from '@hono/zod-openapi';
import { parseBody } from '../../api/fields.ts';
import {
  expertsDocument,
  type MachineModel,
  MODEL_FIELDS,
  machineDocument,
  modelSchema,
  PIN_FIELDS,
  pinSchema,
} from '../../api/hadal/machine.ts';
import { memoryHere } from '../../runtime/memory.ts';
import type { ServerContext, ServerEnv, ServerParts } from '../context.ts';
import type { ModelStatus } from '../models.ts';
import { withModel } from '../using.ts';
import { allowed, demandRule, visible } from '../visible.ts';
import { describePost, modelInPath } from './openapi-parts.ts';

const BASE = '/hadal/v1';

/** Adds the routes. */
export function machine(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  reading(app, parts);
  changing(app, parts);
}

function reading(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: `${BASE}/machine`,
    summary: 'Memory, batch, queue, cache and models',
    responses: { 200: { description: 'How the machine does now' } },
  });
  app.get(`${BASE}/machine`, async (c) => {
    const names = visible(parts.models, c.get('key'));
    const shown = parts.models.status().filter(({ model }) => names.includes(model.name));
    const { presentBytes, availableBytes } = memoryHere();
    return c.json(
      machineDocument({
        totalBytes: presentBytes,
        availableBytes,
        budgetBytes: parts.budgetBytes,
        openRequests: parts.limiter.open,
        models: await Promise.all(shown.map((status) => measured(parts, status))),
      }),
    );
  });
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: `${BASE}/models/{model}/experts`,
    summary: 'How often each expert of a model was chosen since it was loaded',
    request: modelInPath,
    responses: { 200: { description: 'By layer' }, 404: { description: 'No such model' } },
  });
  app.get(`${BASE}/models/:model/experts`, async (c) => {
    const served = allowed(parts.models, c.req.param('model'), c.get('key'));
    const stats = await statsOf(parts, served.name);
    return c.json(expertsDocument(served.name, stats?.experts ?? []));
  });
}

function changing(app: OpenAPIHono<ServerEnv>, parts: ServerParts): void {
  const responses = {
    200: { description: 'Done' },
    400: { description: 'The request is wrong; the error says where' },
    403: { description: 'A key that may not do this' },
    404: { description: 'No such model' },
    409: { description: 'Not while it is in use or pinned' },
    503: { description: 'The model cannot be loaded' },
  };
  const post = (
    path: string,
    summary: string,
    schema: typeof modelSchema | typeof pinSchema,
    work: (c: ServerContext) => Promise<void>,
  ) => {
    describePost(app, `${BASE}${path}`, summary, schema, responses);
    app.post(`${BASE}${path}`, async (c) => {
      await work(c);
      return c.json({ status: 'ok' });
    });
  };
  post('/models/load', 'Load a model; answers when it is loaded', modelSchema, async (c) => {
    const { fields } = parseBody(modelSchema, MODEL_FIELDS, c.get('body'));
    await withModel(c, parts, fields.model, () => undefined);
  });
  post('/models/unload', 'Put a model out', modelSchema, async (c) => {
    const { fields } = parseBody(modelSchema, MODEL_FIELDS, c.get('body'));
    const { name } = allowed(parts.models, fields.model, c.get('key'));
    demandRule(c.get('key'), 'unloading and pinning');
    await parts.models.unload(name);
  });
  post('/models/pin', 'Keep a model loaded, or no longer', pinSchema, async (c) => {
    const { fields } = parseBody(pinSchema, PIN_FIELDS, c.get('body'));
    const { name } = allowed(parts.models, fields.model, c.get('key'));
    demandRule(c.get('key'), 'unloading and pinning');
    parts.models.pin(name, fields.pinned);
  });
}

async function measured(parts: ServerParts, status: ModelStatus): Promise<MachineModel> {
  const { model, ...rest } = status;
  const loaded = parts.models.peek(model.name);
  if (loaded === undefined) return { name: model.name, ...rest, engine: undefined };
  const { architecture, layers, contextTokens, backend } = loaded.engine.description;
  const { chat } = loaded.answerer.supports;
  const stats = await statsOf(parts, model.name);
  return { name: model.name, ...rest, engine: { architecture, layers, contextTokens, backend, chat, stats } };
}

/** An engine that ends meanwhile has nothing to say. */
async function statsOf({ models }: ServerParts, name: string) {
  return await models
    .peek(name)
    ?.engine.stats()
    .catch(() => undefined);
}
