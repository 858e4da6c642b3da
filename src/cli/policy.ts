/**
 * Owns: where a command gets its policy from: `--policy`, a configuration, `HADAL_POLICY`.
 * Refuses to know: what a policy says.
 */
import { admit, readPolicy } from '../audit/policy.node.ts';
import type { OpenOptions } from '../runtime/open.node.ts';
import { usualConfig } from '../server/config.ts';
import type { Arguments } from './arguments.ts';
import type { Surroundings } from './context.ts';

/** The flag, as commands list it. */
export const POLICY_FLAG = {
  policy: { type: 'string', valueHint: 'FILE', description: 'which model files may be loaded' },
} as const;

/** Where else than in `HADAL_POLICY` a command is told of a policy. */
export interface PolicyPlaces {
  /** With {@link POLICY_FLAG}. */
  readonly given?: Arguments;
  /** The configuration that the command read; the usual one when absent. */
  readonly config?: { readonly policy?: string | undefined };
}

/**
 * What has to admit a model before it is read or mapped, by `--policy`, a configuration, or `HADAL_POLICY`; nothing where
 * there is no policy.
 *
 * @throws HadalError as `readPolicy` and `readConfig` do.
 * @example const options = { ...(await admissionOf(env, { given })) };
 */
export async function admissionOf(
  env: Surroundings['env'],
  { given, config = usualConfig(env) }: PolicyPlaces = {},
): Promise<Pick<OpenOptions, 'admit'>> {
  const path = given?.text('policy') ?? config.policy ?? (env.HADAL_POLICY || undefined);
  if (path === undefined) return {};
  const policy = await readPolicy(path);
  return { admit: (at, file) => admit(policy, at, file) };
}
