/**
 * Owns: judging a chat template: is it a published one, and if not, is there anything in it that a template has no need of.
 * Refuses to know: which file it came from.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Finding, quoted } from './finding.ts';
import { digestOfTree, type Node, parseTemplate } from './jinja-tree.ts';
import { branchFindings } from './template-branches.ts';
import { type KnownText, sentencesOf, textFindings, wordsOf } from './template-text.ts';
import { Origins } from './template-values.ts';

/** A published template. */
export interface KnownTemplate {
  readonly name: string;
  readonly from: string;
  /** Of the template's UTF-8 text. */
  readonly sha256: string;
  /** As `digestOfTree` gives it: the same whatever the space inside of tags. */
  readonly tree: string;
}

/** The known templates, and what they say. */
export interface KnownTemplates {
  readonly templates: readonly KnownTemplate[];
  readonly text: KnownText;
}

/** What was found out about a template. */
export interface TemplateReport {
  readonly sha256: string;
  /** The published template that it is; undefined where it is none. */
  readonly known: string | undefined;
  readonly findings: readonly Finding[];
}

/**
 * The templates that are known to be as their publishers made them (`known-templates.json`, made by
 * scripts/reference/known-templates.mjs).
 *
 * @example readKnownTemplates().templates.length
 */
export function readKnownTemplates(): KnownTemplates {
  const json = JSON.parse(readFileSync(new URL('./known-templates.json', import.meta.url), 'utf8')) as {
    readonly templates: readonly KnownTemplate[];
    readonly sentences: readonly string[];
  };
  const words = json.sentences.flatMap((text) => sentencesOf(text).flatMap(wordsOf));
  return { templates: json.templates, text: { sentences: new Set(json.sentences), words: new Set(words) } };
}

/** The digest of a template's text. Example: `templateDigest('{{ messages }}')` */
export function templateDigest(template: string): string {
  return createHash('sha256').update(template).digest('hex');
}

/**
 * Judges a template. Nothing of it is run.
 *
 * @param where what it is called in findings
 * @example auditTemplate(template, readKnownTemplates()).findings
 */
export function auditTemplate(
  template: string,
  known: KnownTemplates,
  where = 'the chat template',
): TemplateReport {
  const sha256 = templateDigest(template);
  const findings: Finding[] = [];
  let tree: Node;
  let origins: Origins;
  try {
    tree = parseTemplate(template);
    origins = new Origins(tree);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    const says = `it cannot be read as a template: ${quoted(why)}`;
    return {
      sha256,
      known: undefined,
      findings: [{ level: 'refuse', code: 'template-unreadable', where, says }],
    };
  }
  const digest = digestOfTree(tree);
  const same = known.templates.find((one) => one.sha256 === sha256 || one.tree === digest);
  if (same !== undefined) {
    const says = `it is the published template ${same.name} (${same.from})`;
    findings.push({ level: 'note', code: 'template-known', where, says });
  } else {
    findings.push({
      level: 'note',
      code: 'template-unknown',
      where,
      says: 'it is none of the published templates that are known here',
    });
  }
  findings.push(...branchFindings(tree, origins, where), ...textFindings(tree, template, known.text, where));
  return { sha256, known: same?.name, findings };
}
