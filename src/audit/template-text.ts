/**
 * Owns: the texts that a chat template itself puts in a prompt: collecting them, and finding what no known template says.
 * Refuses to know: what a template decides by.
 */
import { type Finding, quoted } from './finding.ts';
import { keyOf, list, type Node, nameOf, one, operatorOf, walk } from './jinja-tree.ts';

/** The sentences and words that known templates put in prompts. */
export interface KnownText {
  readonly sentences: ReadonlySet<string>;
  readonly words: ReadonlySet<string>;
}

/** Stands for something that is not known before the template runs. */
const GAP = '\u0000';
/** Words that name who speaks or what comes: templates of every family have some of them. */
const PLAIN_WORDS = new Set(
  (
    'user assistant system tool tools human bot model function functions call calls response result results instruction ' +
    'input output question answer inst im start end of text header id eot bos eos sep begin sys turn think thinking'
  )
    .split(' ')
    .sort(),
);
/** Addresses, also without a scheme. */
const ADDRESS =
  /\b(?:https?|ftp|wss?|file|data|javascript):|\bwww\.|\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net|org|io|ai|dev|app|co|info|biz|xyz|ru|cn|me|sh|ly|gg|to|onion)\b|\b\d{1,3}(?:\.\d{1,3}){3}\b/i;
/** Characters that are not seen, or that turn the order of what is seen. */
const UNSEEN =
  /[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]|\p{Variation_Selector}|[\u{e0000}-\u{e007f}]/u;

/**
 * The findings about a template's own texts.
 *
 * @example textFindings(tree, known, 'the chat template')
 */
export function textFindings(tree: Node, template: string, known: KnownText, where: string): Finding[] {
  const found: Finding[] = [];
  const hidden = template.match(UNSEEN);
  if (hidden !== null) {
    const says = `it holds characters that nobody sees (${quoted(hidden[0])})`;
    found.push({ level: 'refuse', code: 'template-hidden', where, says });
  }
  const texts = saidTexts(tree);
  const address = texts.find((text) => ADDRESS.test(text) && !known.sentences.has(normal(text)));
  if (address !== undefined) {
    found.push({
      level: 'refuse',
      code: 'template-address',
      where,
      says: `it writes an address: ${quoted(address)}`,
    });
  }
  const foreign = new Set(texts.flatMap(sentencesOf).filter((sentence) => isForeign(sentence, known)));
  for (const sentence of [...foreign].slice(0, 10)) {
    const says = `it says something of its own that no known template says: ${quoted(sentence)}`;
    found.push({ level: 'look', code: 'template-text', where, says });
  }
  return found;
}

/**
 * The texts that a template can write, with constants put together as far as they are known.
 *
 * @example saidTexts(parseTemplate("{{ 'a' + 'b' }}")) // ['ab']
 */
export function saidTexts(tree: Node): string[] {
  const constants = constantsOf(tree);
  const silent = silentLiterals(tree);
  const texts: string[] = [];
  const keep = (text: string) => {
    for (const part of text.split(GAP)) if (part.trim() !== '') texts.push(part);
  };
  walk(tree, (node) => {
    for (const field of ['body', 'alternate', 'defaultBlock']) {
      let run = '';
      for (const statement of list(node[field])) {
        run += isOutput(statement) ? folded(statement, constants) : GAP;
      }
      keep(run);
    }
    if (silent.has(node)) return;
    if (isList(node)) {
      const items = list(node.value).map((item) => folded(item, constants));
      keep(items.join(''));
      if (items.length > 1) keep(items.join(' '));
    }
    if (node.type === 'BinaryExpression') keep(folded(node, constants));
    if (node.type === 'StringLiteral') keep(String(node.value));
  });
  return [...new Set(texts)];
}

/** The sentences of a text, in words. Example: `sentencesOf('Be kind.\nSmile') // ['be kind', 'smile']` */
export function sentencesOf(text: string): string[] {
  return text
    .split(/[\n.!?:;。！？：；]+|\\n/u)
    .map(normal)
    .filter((sentence) => sentence !== '');
}

/** The words of known texts. Example: `wordsOf('be kind') // ['be', 'kind']` */
export function wordsOf(sentence: string): string[] {
  return sentence.split(' ').filter((word) => word.length > 1 || isIdeographic(word));
}

function normal(text: string): string {
  return (text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).join(' ');
}

function isForeign(sentence: string, { sentences, words }: KnownText): boolean {
  if (sentences.has(sentence)) return false;
  const said = wordsOf(sentence);
  // Known words in a new order are a new sentence; one or two of them are a mark or a name.
  const plain = said.every((word) => PLAIN_WORDS.has(word));
  if (plain) return false;
  return (
    said.length > 3 || said.some((word) => !words.has(word) && !PLAIN_WORDS.has(word) && !/^\d+$/.test(word))
  );
}

function isIdeographic(word: string): boolean {
  return /\p{Script=Han}/u.test(word);
}

const STATEMENTS: ReadonlySet<string> = new Set(
  'If For Set Macro Comment Break Continue CallStatement FilterStatement Program'.split(' '),
);

function isList({ type }: Node): boolean {
  return type === 'ArrayLiteral' || type === 'TupleLiteral';
}

function isOutput({ type }: Node): boolean {
  return !STATEMENTS.has(type);
}

function folded(node: Node | undefined, constants: ReadonlyMap<string, string>): string {
  if (node === undefined) return GAP;
  if (node.type === 'StringLiteral') return String(node.value);
  if (node.type === 'Identifier') return constants.get(String(node.value)) ?? GAP;
  if (node.type === 'BinaryExpression' && /^[+~]$/.test(operatorOf(node))) {
    return folded(one(node.left), constants) + folded(one(node.right), constants);
  }
  return GAP;
}

/** Names that have one text wherever they are set. */
function constantsOf(tree: Node): Map<string, string> {
  const constants = new Map<string, string>();
  const others = new Set<string>();
  walk(tree, (node) => {
    if (node.type !== 'Set') return;
    const name = nameOf(one(node.assignee));
    if (name === undefined) return;
    const text = folded(one(node.value), constants);
    if (constants.has(name) || others.has(name) || text.includes(GAP)) {
      others.add(name);
      constants.delete(name);
    } else constants.set(name, text);
  });
  return constants;
}

/** Literals that never reach a prompt: keys, what is compared, what an error says. */
function silentLiterals(tree: Node): ReadonlySet<Node> {
  const silent = new Set<Node>();
  const hush = (...nodes: (Node | undefined)[]) => {
    for (const node of nodes) if (node !== undefined) walk(node, (one) => silent.add(one));
  };
  walk(tree, (node) => {
    if (node.type === 'MemberExpression' && node.computed === true) hush(one(node.property));
    if (node.type === 'BinaryExpression' && !/^([+~]|and|or)$/.test(operatorOf(node))) {
      for (const side of [one(node.left), one(node.right)])
        if (side?.type === 'StringLiteral' || (side && isList(side))) hush(side);
    }
    if (node.type === 'ObjectLiteral') hush(...[...(node.value as Map<Node, Node>).keys()]);
    if (node.type !== 'CallExpression') return;
    const callee = one(node.callee);
    const name = callee?.type === 'MemberExpression' ? keyOf(callee) : nameOf(callee);
    if (
      /^(raise_exception|strftime_now|get|map|(select|reject)(attr)?|tojson|r?split|(starts|ends)with|[lr]?strip)$/.test(
        name ?? '',
      )
    ) {
      hush(...list(node.args));
    }
  });
  return silent;
}
