/**
 * Owns: what the machine tells, once a second while somebody looks, and how fast it was over the last minutes.
 * Refuses to know: how it is shown.
 */
import { signal } from '@preact/signals';
import { ask, ServerError } from '../server/client.ts';
import type { ExpertsDocument, MachineDocument } from '../server/documents.ts';
import { key, refreshModels, trouble } from '../state/store.ts';

/** One moment of one model. */
export interface Sample {
  /** Since 1970. */
  readonly seconds: number;
  readonly generated: number;
  readonly prompt: number;
  readonly running: number;
  readonly waiting: number;
}

/** What is known of the machine. */
export const machine = signal<MachineDocument | undefined>(undefined);
/** Moments of each model by its name, the oldest first. */
export const samples = signal<Readonly<Record<string, readonly Sample[]>>>({});
export const experts = signal<Readonly<Record<string, ExpertsDocument>>>({});

const EVERY_MS = 1000;
const MOST_SAMPLES = 300;

/** Rows that were computed up to a moment, by model. */
type Counts = Readonly<
  Record<string, { readonly atMs: number; readonly decode: number; readonly prefill: number }>
>;

/** Watches until it is told to stop. */
export function watchMachine(): () => void {
  let stopped = false;
  let timer = 0;
  let before: Counts = {};
  const look = async () => {
    try {
      if (!document.hidden) before = await measured(before);
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      // Says what is wrong, and finds the server again.
      if (trouble.peek() === '') void refreshModels();
    }
    if (!stopped) timer = window.setTimeout(() => void look(), EVERY_MS);
  };
  void look();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

async function measured(before: Counts): Promise<Counts> {
  const asking = { key: key.peek() };
  const now = await ask<MachineDocument>('/hadal/v1/machine', asking);
  const counting = now.models.filter(({ engine }) => engine?.counts_experts);
  const choices = await Promise.all(
    counting.map(({ name }) =>
      ask<ExpertsDocument>(`/hadal/v1/models/${encodeURIComponent(name)}/experts`, asking),
    ),
  );
  machine.value = now;
  experts.value = Object.fromEntries(choices.map((one) => [one.model, one]));
  const atMs = performance.now();
  const next: Record<string, Counts[string]> = {};
  const added: Record<string, readonly Sample[]> = {};
  for (const { name, engine } of now.models) {
    const old = samples.peek()[name] ?? [];
    added[name] = old;
    if (engine === null) continue;
    const last = before[name];
    next[name] = { atMs, decode: engine.decode_rows, prefill: engine.prefill_rows };
    // An engine that was started again counts from nothing.
    if (last === undefined || engine.decode_rows < last.decode) continue;
    const seconds = (atMs - last.atMs) / 1000;
    const sample: Sample = {
      seconds: Date.now() / 1000,
      generated: (engine.decode_rows - last.decode) / seconds,
      prompt: (engine.prefill_rows - last.prefill) / seconds,
      running: engine.running,
      waiting: engine.waiting,
    };
    added[name] = [...old.slice(1 - MOST_SAMPLES), sample];
  }
  samples.value = added;
  return next;
}

/** Loads, unloads or pins a model; resolves to a sentence where the server refuses. */
export async function change(
  what: 'load' | 'unload' | 'pin',
  model: string,
  more: object = {},
): Promise<string | undefined> {
  try {
    await ask(`/hadal/v1/models/${what}`, { key: key.peek(), body: { model, ...more } });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  } finally {
    void refreshModels();
  }
}
