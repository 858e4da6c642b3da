/**
 * Owns: OpenAI's list of models.
 * Refuses to know: where models are, HTTP.
 */

/** What is told of a model. */
export interface ListedModel {
  readonly name: string;
  readonly state: 'absent' | 'loading' | 'ready';
  /** Known once it is loaded. */
  readonly contextTokens: number | undefined;
}

/**
 * One model as OpenAI writes it, with what we know beside it.
 *
 * @example modelDocument({ name: 'smollm2-135m', state: 'ready', contextTokens: 8192 }, 0);
 */
export function modelDocument({ name, state, contextTokens }: ListedModel, createdSeconds: number): object {
  return {
    id: name,
    object: 'model',
    created: createdSeconds,
    owned_by: 'hadal',
    hadal: { state, ...(contextTokens === undefined ? {} : { context_tokens: contextTokens }) },
  };
}

/** All models. Example: `modelsDocument([], 0) // { object: 'list', data: [] }` */
export function modelsDocument(models: readonly ListedModel[], createdSeconds: number): object {
  return { object: 'list', data: models.map((model) => modelDocument(model, createdSeconds)) };
}
