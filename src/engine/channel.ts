/**
 * Owns: the messages between an engine and whoever asks it, and how errors cross.
 * Refuses to know: threads, processes, what carries the messages.
 */
import type { BackendInfo, CacheDType } from '../backend/backend.ts';
import { HadalError } from '../error.ts';
import type { HeldFiles } from '../formats/tensor-info.ts';
import type { DiskCache } from './archive.ts';
import type {
  EmbedEvent,
  EmbedRequest,
  EngineEvent,
  EngineStats,
  GenerateRequest,
  ScoreEvent,
  ScoreRequest,
} from './request.ts';
import type { Drafting } from './speculative.ts';

/** What the other side opens. */
export interface OpenMessage {
  readonly type: 'open';
  readonly modelPath: string;
  /** What of the model is open already, in the engine's own process. */
  readonly held?: HeldFiles;
  readonly contextTokens?: number;
  readonly cacheTokens?: number;
  readonly cacheDType?: CacheDType;
  readonly maxSequences?: number;
  readonly promptMs?: number;
  readonly threads?: number;
  readonly countExperts?: boolean;
  readonly drafting?: Drafting;
  /** Where pages of prompts outlive the engine; nowhere when absent. */
  readonly diskCache?: DiskCache;
  /** Engines that open with the same name take turns computing; none when absent. */
  readonly leaseName?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Threads only: lets an abort reach a backend that computes without looking at its messages. */
  readonly abortFlag?: SharedArrayBuffer;
}

/** To the engine. */
export type ToEngine =
  | OpenMessage
  | { readonly type: 'generate'; readonly request: GenerateRequest }
  | { readonly type: 'score'; readonly request: ScoreRequest }
  | { readonly type: 'embed'; readonly request: EmbedRequest }
  | { readonly type: 'abort'; readonly requestId: string }
  | { readonly type: 'stats'; readonly call: number }
  | { readonly type: 'close' };

/** What an opened engine says of itself. */
export interface EngineDescription {
  readonly architecture: string;
  readonly contextTokens: number;
  readonly vocabSize: number;
  readonly layers: number;
  readonly weightBytes: number;
  readonly multiplyAddsPerToken: number;
  readonly backend: BackendInfo;
}

/** What comes back for a request of any kind. */
export type AnyEvent = EngineEvent | ScoreEvent | EmbedEvent;

/** From the engine. */
export type FromEngine =
  | { readonly type: 'loading'; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly type: 'warning'; readonly sentence: string }
  | { readonly type: 'ready'; readonly description: EngineDescription }
  | { readonly type: 'refused'; readonly error: ErrorMessage }
  /** What was to be said in one turn, in order. */
  | { readonly type: 'several'; readonly messages: readonly FromEngine[] }
  | { readonly type: 'event'; readonly requestId: string; readonly event: AnyEvent }
  | { readonly type: 'done'; readonly requestId: string; readonly error?: ErrorMessage }
  | { readonly type: 'stats'; readonly call: number; readonly stats: EngineStats }
  | { readonly type: 'closed' };

/** An error on its way. */
export interface ErrorMessage {
  readonly code: string;
  readonly message: string;
}

/** An error as a message. Errors that are not ours keep their words under the code `internal`. */
export function packError(error: unknown): ErrorMessage {
  if (error instanceof HadalError) return { code: error.code, message: error.message };
  return {
    code: 'internal',
    message: error instanceof Error ? (error.stack ?? error.message) : String(error),
  };
}

/** The error that {@link packError} packed. */
export function unpackError({ code, message }: ErrorMessage): HadalError {
  return new HadalError(code, { what: message });
}
