/**
 * Owns: from a model's words, or the likelihoods of choices, to scores of 0 or 1.
 * Refuses to know: prompts, models, running programs.
 *
 * Filters and `exact_match` are those of lm-evaluation-harness, to which test/golden/evaluate holds them.
 */
import type { FilterStep, Task } from './task.ts';

/**
 * What a list of filters makes of an answer.
 *
 * @example filtered('so #### 42', [{ function: 'regex', regex_pattern: '#### (\\d+)', group_select: 0, fallback: '[invalid]' }]) // '42'
 */
export function filtered(answer: string, steps: readonly FilterStep[]): string {
  let text = answer;
  for (const step of steps) text = read(text, step);
  return text;
}

function read(text: string, step: FilterStep): string {
  switch (step.function) {
    case 'regex': {
      const match = [...text.matchAll(pythonRegex(step.regex_pattern, 'g'))].at(step.group_select);
      if (match === undefined) return step.fallback;
      const [whole, ...groups] = match;
      return (groups.length === 0 ? whole : (groups.find((group) => group) ?? '')).trim();
    }
    case 'boxed':
      return lastBoxed(text) ?? '';
    case 'normalise_math':
      return normalisedMath(text);
    case 'take_first':
      return text;
  }
}

/**
 * 1 where two texts are the same but for what is ignored.
 *
 * @example exactMatch('1,000', '1000', { ignore_case: false, ignore_punctuation: false, regexes_to_ignore: [','] }) // 1
 */
export function exactMatch(
  answer: string,
  target: string,
  {
    ignore_case,
    ignore_punctuation,
    regexes_to_ignore,
  }: Pick<Task['metric_list'][number], 'ignore_case' | 'ignore_punctuation' | 'regexes_to_ignore'>,
): number {
  const plain = (text: string) => {
    let rest = text;
    for (const pattern of regexes_to_ignore) rest = rest.replace(pythonRegex(pattern, 'g'), '');
    if (ignore_case) rest = rest.toLowerCase();
    return ignore_punctuation ? rest.replace(/[!-/:-@[-`{-~]/g, '') : rest;
  };
  return plain(answer) === plain(target) ? 1 : 0;
}

/**
 * 1 where the likeliest choice is the right one; of equal ones the first counts.
 *
 * @param logprobs of each choice's text
 * @param choices their texts, by whose lengths `normalised` divides
 * @example choiceScore([-2, -1], ['A', 'B'], 1, false) // 1
 */
export function choiceScore(
  logprobs: readonly number[],
  choices: readonly string[],
  gold: number,
  normalised: boolean,
): number {
  const judged = logprobs.map((logprob, i) => (normalised ? logprob / [...choices[i]!].length : logprob));
  return judged.indexOf(Math.max(...judged)) === gold ? 1 : 0;
}

/** A pattern as Python reads it: flags in front, and no meaning of a lone brace. */
function pythonRegex(pattern: string, flags: string): RegExp {
  const [, inline = '', rest = pattern] = /^\(\?([ims]+)\)([\s\S]*)$/.exec(pattern) ?? [];
  return new RegExp(rest, flags + inline);
}

/** What the last `\boxed{…}` of a text holds, braces matched. */
function lastBoxed(text: string): string | undefined {
  const start = Math.max(text.lastIndexOf('\\boxed{'), text.lastIndexOf('\\fbox{'));
  if (start < 0) return undefined;
  const open = text.indexOf('{', start);
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === '{') depth++;
    if (text[i] === '}' && --depth === 0) return text.slice(open + 1, i);
  }
  return undefined;
}

const UNITS = (
  'square ways integers dollars mph inches ft hours km units \\ldots sue points feet minutes digits cents degrees cm gm ' +
  'pounds meters meals edges students childrentickets multiples \\text{s} \\text{.} \\text{\\ns} \\text{}^2 \\text{}^3 ' +
  '\\text{\\n} \\text{} \\mathrm{th} ^\\circ ^{\\circ} \\; ,\\! {,} " \\dots'
).split(' ');

/** Lewkowycz et al. 2022 (Minerva), appendix D.1: units, dollars, spacing and shorthand taken away. */
function normalisedMath(text: string): string {
  let rest = text.split('=').at(-1)!;
  for (const [from, to] of [
    ['an ', ''],
    ['a ', ''],
    ['.$', '$'],
    ['\\$', ''],
    ['\\ ', ''],
    [' ', ''],
    ['mbox', 'text'],
    [',\\text{and}', ','],
    ['\\text{and}', ','],
    ['\\text{m}', '\\text{}'],
  ] as const)
    rest = rest.replaceAll(from, to);
  for (const unit of UNITS) rest = rest.replaceAll(unit.replace('\\n', '\n'), '');
  rest = rest
    .replace(/(.*?)(\$)(.*?)(\$)(.*)/, '$$$3$$')
    .replace(/(\\text\{)(.*?)(\})/g, '$2')
    .replace(/(\\textbf\{)(.*?)(\})/g, '$2')
    .replace(/(\\overline\{)(.*?)(\})/g, '$2')
    .replace(/(\\boxed\{)(.*)(\})/g, '$2')
    .replace(/(frac)([^{])(.)/g, 'frac{$2}{$3}')
    .replace(/(sqrt)([^{])/g, 'sqrt{$2}')
    .replaceAll('$', '');
  return /^\d+$/.test(rest.replaceAll(',', '')) ? rest.replaceAll(',', '') : rest;
}
