/**
 * Owns: recipes: a JSON file that says which tensors get which type, over a named mix.
 * Refuses to know: files, what the types are.
 */
import { z } from 'zod';
import type { DTypeName } from '../dtypes/dtype.ts';
import { DTYPES } from '../dtypes/table.ts';
import { HadalError } from '../error.ts';
import { type FileTypeName, WRITTEN_TYPES, writtenTypeNamed } from './file-types.ts';

const ENCODABLE = DTYPES.filter(({ encode, ggmlId }) => encode !== undefined && ggmlId >= 0).map(
  ({ name }) => name,
);

/** The schema of a recipe. */
export const RECIPE = z.strictObject({
  $schema: z.string().optional(),
  /** A name like Q4_K_M: what tensors get that no pattern names. */
  base: z.string().describe(`what tensors get that no pattern names: ${WRITTEN_TYPES.join(', ')}`),
  tensors: z
    .array(
      z.strictObject({
        /** A regular expression over GGUF's tensor names; the first that matches wins. */
        pattern: z.string().max(500).describe('a regular expression over tensor names; the first match wins'),
        type: z.string().describe(ENCODABLE.join(', ')),
      }),
    )
    .max(10_000),
});

/**
 * The schema as JSON Schema, for editors.
 *
 * @example writeFileSync('recipe.schema.json', JSON.stringify(recipeJsonSchema()));
 */
export function recipeJsonSchema(): object {
  return z.toJSONSchema(RECIPE, { io: 'input' });
}

/** A recipe with its patterns compiled. */
export interface Recipe {
  readonly base: FileTypeName;
  readonly overrides: readonly { readonly pattern: RegExp; readonly type: DTypeName }[];
}

/**
 * Reads a recipe.
 *
 * @throws HadalError `recipe-invalid`, `file-type-unknown`
 * @example parseRecipe('{ "base": "Q4_K_M", "tensors": [{ "pattern": "ffn_down_exps", "type": "Q6_K" }] }', 'r.json')
 */
export function parseRecipe(text: string, name: string): Recipe {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw invalid(name, 'JSON', (cause as Error).message);
  }
  const parsed = RECIPE.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(`${issue!.path.join('.') || 'the top'} of ${name}`, 'a recipe', issue!.message);
  }
  const overrides = parsed.data.tensors.map(({ pattern, type }, i) => {
    const known = ENCODABLE.find((entry) => entry === type.toUpperCase());
    const place = `tensors.${i}`;
    if (known === undefined)
      throw invalid(`${place}.type of ${name}`, `one of ${ENCODABLE.join(', ')}`, type);
    try {
      return { pattern: new RegExp(pattern), type: known };
    } catch {
      throw invalid(`${place}.pattern of ${name}`, 'a regular expression', pattern);
    }
  });
  return { base: writtenTypeNamed(parsed.data.base), overrides };
}

function invalid(what: string, expected: string, got: string): HadalError {
  return new HadalError('recipe-invalid', {
    what,
    expected,
    got,
    next: 'correct the recipe; `hadal quantize --schema` says what may be in it',
  });
}
