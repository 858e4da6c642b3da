/**
 * Owns: changing single settings inside a JSON, YAML or TOML text and leaving everything else of it as it is.
 * Refuses to know: files, whose settings they are.
 */
import { isDeepStrictEqual } from 'node:util';
import { parse as parseToml, patch as patchToml, stringify as writeToml } from '@decimalturn/toml-patch';
import { applyEdits, modify, type ParseError, parse as parseJson } from 'jsonc-parser';
import { type Document, isCollection, isMap, isScalar, parseDocument } from 'yaml';

/** Where a setting is: names of fields, and places in lists. */
export type SettingPath = readonly (string | number)[];

/** A text of settings in one notation. Every function throws what the notation's parser throws. */
export interface SettingsFormat {
  /** What the text says; an empty text says `{}`. */
  parse(text: string): unknown;
  /** The text with one setting changed. */
  set(text: string, path: SettingPath, value: unknown): string;
  /** The text without one setting. */
  remove(text: string, path: SettingPath): string;
}

/** By the ending of a file's name. `jsonc` is JSON with comments, which some clients read and others do not. */
export type FormatName = 'json' | 'jsonc' | 'yaml' | 'toml';

/** All notations. Example: `FORMATS.toml.set('a = 1 # one\n', ['b'], 2)` */
export const FORMATS: Readonly<Record<FormatName, SettingsFormat>> = {
  json: {
    parse: (text) => (text.trim() === '' ? {} : JSON.parse(text)),
    set: setJson,
    remove: (text, path) => setJson(text, path, undefined),
  },
  jsonc: {
    parse: parseJsonc,
    set: setJson,
    remove: (text, path) => setJson(text, path, undefined),
  },
  yaml: {
    parse: (text) => yamlOf(text).toJS() ?? {},
    set: (text, path, value) => {
      const document = yamlOf(text);
      // An empty text has no map to set anything in.
      if (document.contents === null) document.contents = document.createNode({}) as never;
      if (!isMap(document.contents)) throw new Error('its top is no map');
      const old = document.getIn(path, true);
      const node = document.createNode(value);
      if (isScalar(old) && isScalar(node)) {
        // The same node, so that a comment beside it stays.
        old.value = node.value;
        delete old.source;
        old.type = undefined as never;
      } else document.setIn(path, node);
      return yamlText(document);
    },
    remove: (text, path) => {
      const document = yamlOf(text);
      document.deleteIn(path);
      return isCollection(document.contents) && document.contents.items.length === 0
        ? ''
        : yamlText(document);
    },
  },
  toml: {
    parse: (text) => parseToml(text),
    set: setToml,
    remove: (text, path) => changeToml(text, (object) => deleteIn(object, path)),
  },
};

function parseJsonc(text: string): unknown {
  if (text.trim() === '') return {};
  const errors: ParseError[] = [];
  const value: unknown = parseJson(text, errors, { allowTrailingComma: true });
  if (errors[0] !== undefined) throw new Error(`something wrong at character ${errors[0].offset}`);
  return value;
}

function setJson(text: string, path: SettingPath, value: unknown): string {
  const eol = text.includes('\r\n') ? '\r\n' : '\n';
  const indent = /\n([ \t]+)\S/.exec(text)?.[1] ?? '  ';
  const formattingOptions = {
    insertSpaces: !indent.includes('\t'),
    tabSize: indent.includes('\t') ? 1 : indent.length,
    eol,
  };
  const from = text.trim() === '' ? `{}${eol}` : text;
  return applyEdits(from, modify(from, [...path], value, { formattingOptions }));
}

function yamlOf(text: string): Document {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw error;
  return document;
}

function yamlText(document: Document): string {
  return document.toString({ lineWidth: 0 });
}

/**
 * Whether two values say the same, whatever a parser made them of. Example: `sameSettings({ a: 1 }, { a: 1 }) // true`
 */
export function sameSettings(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(plain(a), plain(b));
}

/** Dates as texts, long numbers as texts, objects without a class. */
function plain(value: unknown): unknown {
  if (value === undefined) return undefined;
  return JSON.parse(JSON.stringify(value, (_, one) => (typeof one === 'bigint' ? `${one}n` : one)));
}

type Json = Record<string | number, unknown>;

function changeToml(text: string, change: (object: Json) => void): string {
  const object = parseToml(text) as Json;
  change(object);
  return text.trim() === '' ? writeToml(object) : patchToml(text, object);
}

/** A new table goes to the end under a heading of its own, as people write it. */
function setToml(text: string, path: SettingPath, value: unknown): string {
  const wanted = parseToml(text) as Json;
  setIn(wanted, path, value);
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const heading = path.map((key) => (/^[\w-]+$/.test(`${key}`) ? key : JSON.stringify(key))).join('.');
    const gap = text === '' ? '' : text.endsWith('\n') ? '\n' : '\n\n';
    const longer = `${text}${gap}[${heading}]\n${writeToml(value as Json)}`;
    if (says(longer, wanted)) return longer;
  }
  return text.trim() === '' ? writeToml(wanted) : patchToml(text, wanted);
}

function says(toml: string, wanted: Json): boolean {
  try {
    return sameSettings(parseToml(toml), wanted);
  } catch {
    return false;
  }
}

function setIn(object: Json, path: SettingPath, value: unknown): void {
  let at = object;
  for (const key of path.slice(0, -1)) {
    at[key] ??= {};
    at = at[key] as Json;
  }
  at[path.at(-1)!] = value;
}

function deleteIn(object: Json, path: SettingPath): void {
  let at: Json | undefined = object;
  for (const key of path.slice(0, -1)) at = at?.[key] as Json | undefined;
  if (Array.isArray(at)) at.splice(Number(path.at(-1)), 1);
  else if (at !== undefined) delete at[path.at(-1)!];
}
