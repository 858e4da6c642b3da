/**
 * Owns: what drafting ahead did for answers, as fields beside the counts of their tokens.
 * Refuses to know: how drafts are made, protocols.
 */
import type { DraftFigures, Usage } from '../engine/request.ts';

/** The `drafts` of a usage block, a vendor's field in every protocol. */
export interface DraftsDocument {
  /** Tokens that were guessed ahead and computed, and those of them that were right and saved a step. */
  readonly drafted: number;
  readonly accepted: number;
  /** Tokens that a step of the answer gave on average, the one after the prompt apart. */
  readonly tokens_per_step: number;
  /** How many times as fast as without drafts, as measured. */
  readonly gain: number;
}

/** Figures as fields. Example: `draftsDocument(usage.drafts) // { drafted: 9, accepted: 6, … }` */
export function draftsDocument({ drafted, accepted, tokensPerStep, gain }: DraftFigures): DraftsDocument {
  return { drafted, accepted, tokens_per_step: tokensPerStep, gain };
}

/**
 * The figures of several answers together; undefined where none of them had a draft.
 *
 * @example draftsOf([usage]) // { drafted: 9, accepted: 6, tokensPerStep: 1.8, gain: 1.4 }
 */
export function draftsOf(usages: readonly Usage[]): DraftFigures | undefined {
  if (usages.every(({ drafts }) => drafts === undefined)) return undefined;
  if (usages.length === 1) return usages[0]?.drafts;
  const sum = (of: (usage: Usage) => number) => usages.reduce((total, usage) => total + of(usage), 0);
  const tokens = ({ generatedTokens }: Usage) => Math.max(0, generatedTokens - 1);
  const steps = sum((usage) => tokens(usage) / (usage.drafts?.tokensPerStep ?? 1));
  const spentMs = sum(({ decodeMs }) => decodeMs);
  const plainMs = sum(({ decodeMs, drafts }) => decodeMs * (drafts?.gain ?? 1));
  return {
    drafted: sum(({ drafts }) => drafts?.drafted ?? 0),
    accepted: sum(({ drafts }) => drafts?.accepted ?? 0),
    tokensPerStep: steps === 0 ? 1 : sum(tokens) / steps,
    gain: spentMs === 0 ? 1 : plainMs / spentMs,
  };
}
