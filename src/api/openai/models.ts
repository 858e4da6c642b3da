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

/** A model as it is written. */
export interface ModelDocument {
  readonly id: string;
  readonly object: 'model';
  readonly created: number;
  readonly owned_by: 'hadal';
  readonly hadal: { readonly state: ListedModel['state']; readonly context_tokens?: number };
}

/** A list of models as it is written. */
export interface ModelsDocument {
  readonly object: 'list';
  readonly data: readonly ModelDocument[];
}

/**
 * One model as OpenAI writes it, with what we know beside it.
 *
 * @example modelDocument({ name: 'smollm2-135m', state: 'ready', contextTokens: 8192 }, 0);
 */
export function modelDocument(
  { name, state, contextTokens }: ListedModel,
  createdSeconds: number,
): ModelDocument {
  return {
    id: name,
    object: 'model',
    created: createdSeconds,
    owned_by: 'hadal',
    hadal: { state, ...(contextTokens === undefined ? {} : { context_tokens: contextTokens }) },
  };
}

/** All models. Example: `modelsDocument([], 0) // { object: 'list', data: [] }` */
export function modelsDocument(models: readonly ListedModel[], createdSeconds: number): ModelsDocument {
  return { object: 'list', data: models.map((model) => modelDocument(model, createdSeconds)) };
}
