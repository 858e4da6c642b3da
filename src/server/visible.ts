/**
 * Owns: which models a caller may know of and use.
 * Refuses to know: what is done with them.
 */
import { HadalError } from '../error.ts';
import { type ApiKey, mayUse, rulesAll } from '../http/keys.ts';
import type { ServingModel } from './answering.ts';
import { type Models, type ServedModel, unknownModel } from './models.ts';

/** Names of the models that a key may use; all where no key is asked for. Example: `visible(models, key) // ['a']` */
export function visible(models: Models<ServingModel>, key: ApiKey | undefined): readonly string[] {
  const names = models.status().map(({ model }) => model.name);
  return key === undefined ? names : names.filter((name) => mayUse(key, name));
}

/** The served model that a caller asks for. Throws `model-unknown`, `model-forbidden`. */
export function allowed(models: Models<ServingModel>, name: string, key: ApiKey | undefined): ServedModel {
  const served = models.find(name);
  if (served === undefined) throw unknownModel(name, visible(models, key));
  if (key === undefined || mayUse(key, served.name)) return served;
  throw new HadalError('model-forbidden', {
    what: `the model ${served.name}`,
    expected: 'a key that may use it',
    got: `the key "${key.name}"`,
    next: 'ask whoever runs this server',
  });
}

/** What concerns everybody is for keys of all models, or where no key is asked for. Throws `key-limited`. */
export function demandRule(key: ApiKey | undefined, what: string): void {
  if (key === undefined || rulesAll(key)) return;
  throw new HadalError('key-limited', {
    what,
    expected: 'a key for all models',
    got: `the key "${key.name}"`,
    next: 'ask whoever runs this server',
  });
}
