/**
 * Owns: what every route is given: the parts of the server, and what is known of a request before its route runs.
 * Refuses to know: any route.
 */
import type { Context } from 'hono';
import type { AuthEnv } from '../http/auth.ts';
import type { HostRules } from '../http/host-check.ts';
import type { BodyLimits, JsonEnv } from '../http/json-body.ts';
import type { KeyRing } from '../http/keys.ts';
import type { Limiter } from '../http/limits.ts';
import type { FactsReader } from '../runtime/facts.node.ts';
import type { ServingModel } from './answering.ts';
import type { Models } from './models.ts';
import type { Observers } from './observing.ts';
import type { Page } from './page.ts';
import type { ModelStore } from './stored-models.ts';

/** What the server is made of. */
export interface ServerParts {
  readonly version: string;
  /** Bytes that all models together may take. */
  readonly budgetBytes: number;
  readonly models: Models<ServingModel>;
  /** What is on disk, and may be fetched onto it. */
  readonly store: ModelStore;
  /** What a model's file says of it. */
  readonly facts: FactsReader;
  readonly keys: KeyRing;
  readonly limiter: Limiter;
  readonly observers: Observers;
  readonly bodyLimits: BodyLimits;
  readonly hostRules: HostRules;
  /** What browsers are shown; empty where it has not been built. */
  readonly page: Page;
  /** Whether keys share what was computed of prompts that begin alike. */
  readonly sharedCache: boolean;
  /** A comment on every stream after so long without an event. */
  readonly pingMs: number;
  /** Aborted when no more requests are taken. */
  readonly closing: AbortSignal;
  /** Aborted when answers that still run are to end. */
  readonly stop: AbortSignal;
}

/** hono's types for our routes: the id of a request, its key, its body. */
export interface ServerEnv {
  /** Where the request came over a socket, what Node has of it. */
  readonly Bindings: { readonly incoming?: { readonly httpVersion: string } };
  readonly Variables: { requestId: string; answering?: true } & AuthEnv['Variables'] & JsonEnv['Variables'];
}

/** The context of a request. */
export type ServerContext = Context<ServerEnv>;
