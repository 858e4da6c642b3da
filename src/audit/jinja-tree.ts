/**
 * Owns: chat templates as trees: parsing them, the shape of their nodes, walking them, telling two apart.
 * Refuses to know: what is dangerous in one. Nothing of a template is ever run here.
 */
import { createHash } from 'node:crypto';
import { parse, tokenize } from '@huggingface/jinja';

/** A node, as the parser of @huggingface/jinja makes them; fields by the type. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}

/** The longest template in characters; the longest published ones have 20,000. */
export const MOST_TEMPLATE = 1 << 16;
/** Deeper nesting than any template has. */
const MOST_DEPTH = 200;

/**
 * The tree of a template; throws an Error with the parser's words where it is none, and for nesting without end.
 *
 * @example parseTemplate('{{ messages }}').type // 'Program'
 */
export function parseTemplate(template: string): Node {
  if (template.length > MOST_TEMPLATE) {
    throw new Error(`it has ${template.length} characters, more than ${MOST_TEMPLATE}`);
  }
  const tree = parse(tokenize(template, { lstrip_blocks: true, trim_blocks: true }));
  const root = tree as unknown as Node;
  if (depthOf(root, 0) > MOST_DEPTH) throw new Error(`it nests deeper than ${MOST_DEPTH}`);
  return root;
}

/** The nodes directly in a node. Example: `children(node).map(({ type }) => type)` */
export function children(node: Node): Node[] {
  return Object.entries(node).flatMap(([field, value]) => (field === 'operator' ? [] : nodesIn(value)));
}

function nodesIn(value: unknown): Node[] {
  if (Array.isArray(value)) return value.flatMap(nodesIn);
  if (value instanceof Map) return [...value].flat().flatMap(nodesIn);
  return isNode(value) ? [value] : [];
}

/** Calls `visit` for a node and all below it, parents first. Example: `walk(tree, ({ type }) => types.add(type))` */
export function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  for (const child of children(node)) walk(child, visit);
}

/** Whether something is a node. Example: `isNode(node.test)` */
export function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as Node).type === 'string';
}

/** The nodes of a field that holds a list. Example: `list(node.body)` */
export function list(value: unknown): readonly Node[] {
  return Array.isArray(value) ? value.filter(isNode) : [];
}

/** A field that holds one node. Example: `one(node.test)` */
export function one(value: unknown): Node | undefined {
  return isNode(value) ? value : undefined;
}

/** The word of an operator. Example: `operatorOf(node) // '=='` */
export function operatorOf(node: Node): string {
  return String((node.operator as { value?: unknown } | undefined)?.value ?? '');
}

/** The name that a node stands for, or undefined. Example: `nameOf(node.callee) // 'range'` */
export function nameOf(node: Node | undefined): string | undefined {
  return node?.type === 'Identifier' ? String(node.value) : undefined;
}

/** The key of `a.key` or `a['key']`; undefined where it is computed. Example: `keyOf(member) // 'content'` */
export function keyOf(member: Node): string | undefined {
  const property = one(member.property);
  if (member.computed !== true) return nameOf(property);
  return property?.type === 'StringLiteral' ? String(property.value) : undefined;
}

/**
 * The SHA-256 of what a template does: the same for two that differ in comments or in space inside of tags only.
 *
 * @example digestOfTree(parseTemplate('{{a}}')) === digestOfTree(parseTemplate('{{ a }}'))
 */
export function digestOfTree(tree: Node): string {
  return createHash('sha256')
    .update(JSON.stringify(plain(tree)))
    .digest('hex');
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain).filter((item) => item !== undefined);
  if (value instanceof Map) return [...value].map(([key, item]) => [plain(key), plain(item)]);
  if (!isNode(value)) return value;
  if (value.type === 'Comment') return undefined;
  return Object.entries(value).map(([field, item]) => [field, plain(item)]);
}

function depthOf(node: Node, above: number): number {
  if (above > MOST_DEPTH) return above;
  return children(node).reduce((most, child) => Math.max(most, depthOf(child, above + 1)), above);
}
