/**
 * Owns: this project's own documents on a machine that serves: memory, queue, cache, models, choices of experts.
 * Refuses to know: HTTP, where the figures come from.
 */
import { z } from 'zod';
import type { BackendInfo } from '../../backend/backend.ts';
import type { ChatSupport } from '../../chat/support.ts';
import { expertBalance } from '../../engine/expert-balance.ts';
import type { EngineStats, ExpertUse } from '../../engine/request.ts';
import { type FieldTable, honoured } from '../fields.ts';

/** What is known of the engine of a loaded model. */
export interface MachineEngine {
  readonly architecture: string;
  readonly layers: number;
  readonly contextTokens: number;
  readonly backend: BackendInfo;
  readonly chat: ChatSupport | undefined;
  /** Undefined where the engine could not say. */
  readonly stats: EngineStats | undefined;
}

/** A served model and what it does. */
export interface MachineModel {
  readonly name: string;
  readonly state: 'absent' | 'loading' | 'ready';
  readonly progress: { readonly done: number; readonly total: number } | undefined;
  readonly pinned: boolean;
  readonly inUse: number;
  readonly bytes: number | undefined;
  readonly expiresAtMs: number | undefined;
  readonly engine: MachineEngine | undefined;
}

/** A machine that serves. */
export interface Machine {
  readonly totalBytes: number;
  readonly availableBytes: number;
  readonly budgetBytes: number;
  readonly openRequests: number;
  readonly models: readonly MachineModel[];
}

/** A model as it is written; counts are since it was loaded. */
export interface MachineModelDocument {
  readonly name: string;
  readonly state: MachineModel['state'];
  readonly loading: { readonly done: number; readonly total: number } | null;
  readonly pinned: boolean;
  readonly in_use: number;
  readonly bytes: number | null;
  readonly expires_at_ms: number | null;
  readonly architecture: string | null;
  readonly layers: number | null;
  readonly context_tokens: number | null;
  readonly backend: BackendInfo | null;
  readonly thinking: ChatSupport['thinking'] | null;
  readonly tools: boolean | null;
  readonly engine: EngineDocument | null;
}

/** What an engine says of itself. */
export interface EngineDocument {
  readonly running: number;
  readonly waiting: number;
  readonly steps: number;
  readonly prefill_rows: number;
  readonly decode_rows: number;
  readonly drafted: number;
  readonly accepted: number;
  readonly page_tokens: number;
  readonly pages: { readonly total: number; readonly used: number; readonly kept: number };
  readonly weight_bytes: number;
  readonly cache_bytes: number;
  readonly tensor_bytes: number;
  readonly counts_experts: boolean;
}

/** The machine as it is written. */
export interface MachineDocument {
  readonly object: 'machine';
  readonly memory: {
    readonly total_bytes: number;
    readonly available_bytes: number;
    readonly budget_bytes: number;
  };
  readonly open_requests: number;
  readonly models: readonly MachineModelDocument[];
}

/** Choices of the experts of one layer as they are written. */
export interface ExpertLayerDocument {
  readonly layer: number;
  readonly counts: readonly number[];
  readonly evenness: number;
  readonly dead: number;
  readonly busiest: number;
  readonly busiest_share: number;
}

/** Choices of experts as they are written; no layers where none were counted. */
export interface ExpertsDocument {
  readonly object: 'experts';
  readonly model: string;
  readonly layers: readonly ExpertLayerDocument[];
}

/**
 * The machine as a document.
 *
 * @example machineDocument({ totalBytes: 2 ** 34, availableBytes: 2 ** 33, budgetBytes: 2 ** 33, openRequests: 0, models: [] });
 */
export function machineDocument(machine: Machine): MachineDocument {
  return {
    object: 'machine',
    memory: {
      total_bytes: machine.totalBytes,
      available_bytes: machine.availableBytes,
      budget_bytes: Math.floor(machine.budgetBytes),
    },
    open_requests: machine.openRequests,
    models: machine.models.map(modelDocument),
  };
}

function modelDocument({ engine, ...model }: MachineModel): MachineModelDocument {
  return {
    name: model.name,
    state: model.state,
    loading: model.progress ?? null,
    pinned: model.pinned,
    in_use: model.inUse,
    bytes: model.bytes ?? null,
    expires_at_ms: model.expiresAtMs ?? null,
    architecture: engine?.architecture ?? null,
    layers: engine?.layers ?? null,
    context_tokens: engine?.contextTokens ?? null,
    backend: engine?.backend ?? null,
    thinking: engine?.chat?.thinking ?? null,
    tools: engine?.chat?.tools ?? null,
    engine: engine?.stats ? engineDocument(engine.stats) : null,
  };
}

function engineDocument(stats: EngineStats): EngineDocument {
  return {
    running: stats.runningRequests,
    waiting: stats.waitingRequests,
    steps: stats.steps,
    prefill_rows: stats.prefillRows,
    decode_rows: stats.decodeRows,
    drafted: stats.drafts.drafted,
    accepted: stats.drafts.accepted,
    page_tokens: stats.pageTokens,
    pages: stats.pages,
    weight_bytes: stats.weightBytes,
    cache_bytes: stats.cacheBytes,
    tensor_bytes: stats.tensorBytes,
    counts_experts: stats.experts !== undefined,
  };
}

/**
 * Choices of experts as a document.
 *
 * @example expertsDocument('v2-lite', stats.experts ?? []).layers[0]?.evenness;
 */
export function expertsDocument(model: string, uses: readonly ExpertUse[]): ExpertsDocument {
  return { object: 'experts', model, layers: uses.map(expertLayerDocument) };
}

/** Choices of one layer as a document. Example: `expertLayerDocument({ layer: 1, counts: Int32Array.of(1, 3) }).busiest // 1` */
export function expertLayerDocument({ layer, counts }: ExpertUse): ExpertLayerDocument {
  const { evenness, dead, busiest, busiestShare } = expertBalance(counts);
  return { layer, counts: Array.from(counts), evenness, dead, busiest, busiest_share: busiestShare };
}

const name = z.string().min(1).max(256);

/** The body of `…/models/load` and `…/models/unload`. */
export const modelSchema = z.strictObject({ model: name });
/** The body of `…/models/pin`. */
export const pinSchema = z.strictObject({ model: name, pinned: z.boolean() });

/** What becomes of their fields. */
export const MODEL_FIELDS: FieldTable = { model: honoured('a name of `GET /v1/models`') };
/** What becomes of the fields of `…/models/pin`. */
export const PIN_FIELDS: FieldTable = {
  ...MODEL_FIELDS,
  pinned: honoured('whether it stays loaded once it is'),
};
