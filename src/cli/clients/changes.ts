/**
 * Owns: a list of wanted settings put into a text, and taken out again however the text was changed meanwhile.
 * Refuses to know: files, notations, whose settings they are.
 */
import { type SettingPath, type SettingsFormat, sameSettings } from './settings-format.ts';

/** A field, or the item of a list that has a name. */
export type Step = string | { readonly name: string };

/** One setting that is wanted. */
export interface Change {
  readonly path: readonly Step[];
  readonly value: unknown;
  /** Only where nothing is there. */
  readonly ifAbsent?: true;
}

/** A setting that was changed, with what was there before; `undefined` where nothing was. */
export interface Changed {
  readonly path: readonly Step[];
  readonly value: unknown;
  readonly before?: unknown;
  /** How many fields of the path were there before. */
  readonly depth: number;
}

/**
 * Puts settings into a text.
 *
 * @throws what the notation's parser throws; an Error where something else is in the way
 * @example applyChanges(FORMATS.json, '{}', [{ path: ['env', 'A'], value: '1' }]).text;
 */
export function applyChanges(
  format: SettingsFormat,
  text: string,
  changes: readonly Change[],
): { readonly text: string; readonly changed: readonly Changed[] } {
  const changed: Changed[] = [];
  let now = text;
  const original = format.parse(now);
  demandObject(original);
  for (const { path, value, ifAbsent } of changes) {
    const found = find(format.parse(now), path);
    if (ifAbsent && found.value !== undefined) continue;
    if (sameSettings(found.value, value)) continue;
    const at = found.create();
    now = at.list === undefined ? format.set(now, at.path, value) : format.set(now, at.list, [value]);
    changed.push({
      path,
      value,
      depth: found.depth,
      ...(found.value === undefined ? {} : { before: found.value }),
    });
  }
  // What writes notations is not ours: nothing is handed on that says anything else than it did.
  if (!sameSettings(format.parse(revertChanges(format, now, changed).text), original)) {
    throw new Error('settings that could not be changed without changing others');
  }
  return { text: now, changed };
}

/**
 * Takes settings out of a text again: what still has the value that was put there gets back what was before it; what was
 * changed since stays.
 *
 * @returns the text, and the paths that stayed
 */
export function revertChanges(
  format: SettingsFormat,
  text: string,
  changed: readonly Changed[],
): { readonly text: string; readonly kept: readonly (readonly Step[])[] } {
  const kept: (readonly Step[])[] = [];
  let now = text;
  for (const { path, value, before, depth } of changed.toReversed()) {
    const found = find(format.parse(now), path);
    if (!sameSettings(found.value, value)) {
      if (found.value !== undefined) kept.push(path);
      continue;
    }
    const at = found.create().path;
    if (before !== undefined) {
      now = format.set(now, at, before);
      continue;
    }
    now = format.remove(now, at);
    // Objects that were made for it go with it once they are empty.
    for (let length = at.length - 1; length > depth; length--) {
      const parent = at.slice(0, length);
      if (!isEmpty(valueAt(format.parse(now), parent))) break;
      now = format.remove(now, parent);
    }
  }
  return { text: now, kept };
}

interface Found {
  readonly value: unknown;
  /** How many fields of the path are there. */
  readonly depth: number;
  /** Where to write: `list` where the list itself is missing. */
  create(): { readonly path: SettingPath; readonly list?: SettingPath };
}

function find(root: unknown, path: readonly Step[]): Found {
  const at: (string | number)[] = [];
  let value: unknown = root;
  let depth = 0;
  let list: SettingPath | undefined;
  for (const [i, step] of path.entries()) {
    if (typeof step === 'string') {
      if (value !== undefined && !isObject(value)) throw inTheWay(path.slice(0, i));
      value = (value as Record<string, unknown> | undefined)?.[step];
      at.push(step);
    } else {
      if (value !== undefined && !Array.isArray(value)) throw inTheWay(path.slice(0, i));
      const items = (value ?? []) as readonly unknown[];
      const index = items.findIndex((item) => isObject(item) && item.name === step.name);
      if (value === undefined) list = [...at];
      value = items[index];
      at.push(index < 0 ? items.length : index);
    }
    if (value !== undefined) depth = i + 1;
  }
  return { value, depth, create: () => ({ path: at, ...(list === undefined ? {} : { list }) }) };
}

function valueAt(root: unknown, path: SettingPath): unknown {
  let value: unknown = root;
  for (const key of path) value = (value as Record<string | number, unknown> | undefined)?.[key];
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

function demandObject(value: unknown): void {
  if (!isObject(value)) throw new Error('no settings by name at its top');
}

function inTheWay(path: readonly Step[]): Error {
  const name = path.map((step) => (typeof step === 'string' ? step : step.name)).join('.');
  return new Error(`something else where ${name || 'settings'} belongs`);
}
