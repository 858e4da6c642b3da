/**
 * Owns: what every route is given: the parts of the server, and what is known of a request before its route runs.
 * Refuses to know: any route.
 */
import type { Context } from 'hono';
import type { ServingModel } from './answering.ts';
import type { Models } from './models.ts';

/** What the server is made of. */
export interface ServerParts {
  readonly models: Models<ServingModel>;
  readonly limits: { readonly maxBodyBytes: number; readonly maxDepth: number };
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  /** A comment on every stream after so long without an event. */
  readonly pingMs: number;
  /** Aborted when answers that still run are to end. */
  readonly stop: AbortSignal;
  readonly onError: (error: unknown, requestId: string) => void;
}

/** hono's types for our routes. */
export interface ServerEnv {
  readonly Variables: { requestId: string; body: unknown };
}

/** The context of a request. */
export type ServerContext = Context<ServerEnv>;
