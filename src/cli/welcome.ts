/**
 * Owns: what `hadal` alone prints: what this machine can run, and three commands to try.
 * Refuses to know: how anything is planned.
 */
import { readFamily } from '../hub/family.ts';
import { planFamily } from '../planner/plan.ts';
import type { Surroundings } from './context.ts';
import { table } from './figures.ts';
import { probeShown } from './plan.ts';
import { familyReport } from './plan-view.ts';

/**
 * Prints the plan for this machine and what to do with it.
 *
 * @example await welcome(surroundings);
 */
export async function welcome(surroundings: Surroundings): Promise<void> {
  const { terminal } = surroundings;
  const machine = await probeShown(surroundings, false);
  const family = readFamily().filter(({ kind }) => kind !== 'base');
  const plans = planFamily(family, machine, {});
  // The best that Hadal runs itself and whose files are known.
  const best = plans.find(
    ({ subject, ways }) =>
      subject.model?.gguf !== undefined &&
      subject.quantization !== 'native' &&
      ways.some(({ engine }) => engine === 'hadal'),
  );
  const name =
    best === undefined
      ? 'smollm2-135m'
      : `${best.subject.model?.aliases?.[0] ?? best.subject.name}:${best.subject.format}`;
  const tries = [
    [
      `hadal plan ${best === undefined ? 'deepseek-v3' : name}`,
      'its parts, placement and rates, and who else runs it',
    ],
    ['hadal run smollm2-135m "What is gravity?"', 'a small model answers at once (98 MB are fetched)'],
    [`hadal serve ${name}`, 'fetches it, and serves a chat page and an API'],
  ];
  const rest = '\nhadal --help lists every command.\n';
  terminal.out(`${familyReport(machine, plans, false)}\nTry\n${table(tries).replace(/^/gm, '  ')}\n${rest}`);
}
