import { expect, test } from 'vitest';
import { NO_KEYS } from '../http/keys.ts';
import { createLimiter } from '../http/limits.ts';
import { createLog } from '../http/log.ts';
import { createMetrics } from '../http/metrics.ts';
import type { ServingModel } from './answering.ts';
import { createApp } from './app.ts';
import { createModels } from './models.ts';
import { modelStore } from './stored-models.ts';

interface Operation {
  readonly summary?: string;
  readonly parameters?: readonly {
    readonly in: string;
    readonly name: string;
    readonly required?: boolean;
  }[];
  readonly responses: Readonly<Record<string, unknown>>;
}

test('the OpenAPI document has every route that is registered, and no other', async () => {
  const app = createApp({
    version: '1.2.3',
    budgetBytes: 1,
    models: createModels<ServingModel>({
      served: [],
      opener: { open: () => expect.unreachable(), bytesOf: () => expect.unreachable() },
      budgetBytes: 1,
      keepAliveMs: 1,
    }),
    store: modelStore({}),
    facts: () => expect.unreachable(),
    keys: NO_KEYS,
    limiter: createLimiter({ maxOpen: 1 }),
    observers: { log: createLog({ write() {} }), metrics: createMetrics() },
    bodyLimits: { maxBytes: 1, maxDepth: 1 },
    hostRules: { hosts: [], origins: [] },
    page: new Map(),
    pingMs: 1,
    sharedCache: false,
    closing: new AbortController().signal,
    stop: new AbortController().signal,
  });
  const registered = app.routes
    .filter(({ method }) => method !== 'ALL')
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)(\{[^}]*\})?/g, '{$1}')}`);
  const response = await app.request('/openapi.json', { headers: { host: 'localhost' } });
  const document = (await response.json()) as {
    info: object;
    paths: Record<string, Record<string, Operation>>;
  };
  const described = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect(described.toSorted()).toEqual([...new Set(registered)].toSorted());
  expect(document.info).toEqual({ title: 'Hadal', version: '1.2.3' });
  for (const route of Object.values(document.paths).flatMap((methods) => Object.values(methods))) {
    expect(route.summary).toMatch(/^[A-Z]/);
    expect(Object.keys(route.responses)).toContain('200');
  }
  // As the specification wants it of every part of a path that is a parameter.
  const inPaths = Object.entries(document.paths).map(([path, methods]) => ({
    names: [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name),
    operations: Object.values(methods),
  }));
  expect(inPaths.filter(({ names }) => names.length > 0).length).toBeGreaterThan(3);
  for (const { names, operations } of inPaths) {
    for (const { parameters = [] } of operations) {
      const described = parameters.filter((one) => one.in === 'path' && one.required);
      expect(described.map(({ name }) => name)).toEqual(names);
    }
  }
});
