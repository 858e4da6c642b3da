/**
 * Owns: which models a caller may know of.
 * Refuses to know: what is done with them.
 */
import { type ApiKey, mayUse } from '../http/keys.ts';
import type { ServingModel } from './answering.ts';
import type { Models } from './models.ts';

/** Names of the models that a key may use; all where no key is asked for. Example: `visible(models, key) // ['a']` */
export function visible(models: Models<ServingModel>, key: ApiKey | undefined): readonly string[] {
  const names = models.status().map(({ model }) => model.name);
  return key === undefined ? names : names.filter((name) => mayUse(key, name));
}
