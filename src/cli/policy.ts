/**
 * Owns: `--policy` of commands: where a policy comes from.
 * Refuses to know: what a policy says.
 */
import { admit, readPolicy } from '../audit/policy.node.ts';
import type { OpenOptions } from '../runtime/open.node.ts';
import type { Arguments } from './arguments.ts';
import type { Surroundings } from './context.ts';

/** The flag, as commands list it. */
export const POLICY_FLAG = {
  policy: { type: 'string', valueHint: 'FILE', description: 'which model files may be loaded' },
} as const;

/**
 * What has to admit a model before it is mapped, by `--policy`, a configuration, or `HADAL_POLICY`; nothing where there is
 * no policy.
 *
 * @throws HadalError as `readPolicy` does.
 * @example const options = { ...(await admissionOf(given, env)) };
 */
export async function admissionOf(
  given: Arguments,
  env: Surroundings['env'],
  configured?: string,
): Promise<Pick<OpenOptions, 'admit'>> {
  const path = given.text('policy') ?? configured ?? (env.HADAL_POLICY || undefined);
  if (path === undefined) return {};
  const policy = await readPolicy(path);
  return { admit: (at, file) => admit(policy, at, file) };
}
