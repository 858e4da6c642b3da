/**
 * Owns: the forms that `npm run bench:grammar` measures, with documents as a model would write them.
 * Refuses to know: how they are measured.
 */

const PERSON = {
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 40 },
    age: { type: 'integer', minimum: 0, maximum: 150 },
    email: { type: 'string', format: 'email' },
    born: { type: 'string', format: 'date' },
    role: { enum: ['admin', 'author', 'reader'] },
    tags: { type: 'array', items: { type: 'string' }, maxItems: 8 },
    address: {
      type: ['object', 'null'],
      properties: {
        street: { type: 'string' },
        city: { type: 'string' },
        zip: { type: 'string', pattern: '^\\d{5}$' },
      },
      required: ['street', 'city'],
      additionalProperties: false,
    },
  },
  required: ['name', 'age', 'role', 'tags', 'address'],
  additionalProperties: false,
};
const people = [
  [
    'Ada Lovelace',
    36,
    'author',
    ['analyst', 'first of all'],
    { street: "St. James's Square 12", city: 'London' },
  ],
  ['Jürgen Müller', 51, 'admin', [], null],
  ['李小龙', 32, 'reader', ['功夫', '电影'], { street: '弥敦道 41 号', city: '香港', zip: '99907' }],
  [
    'Zoë "Z" O’Neil',
    7,
    'reader',
    ['a', 'b', 'c'],
    { street: "Rue de l'Église", city: 'Genève', zip: '12040' },
  ],
].map(([name, age, role, tags, address], i) => ({
  name,
  age,
  ...(i % 2 === 0 ? { email: `someone.else${i}@mail.example.org`, born: `19${50 + i}-02-1${i}` } : {}),
  role,
  tags,
  address,
}));

const TREE = {
  $ref: '#/$defs/node',
  $defs: {
    node: {
      type: 'object',
      properties: {
        label: { type: 'string' },
        value: { type: ['number', 'string', 'boolean', 'null'] },
        children: { type: 'array', items: { $ref: '#/$defs/node' } },
      },
      required: ['label', 'children'],
      additionalProperties: false,
    },
  },
};
const tree = (depth, width) => ({
  label: `level ${depth}, with words that mean nothing`,
  value: depth % 2 === 0 ? depth / 7 : 'half way',
  children: depth === 0 ? [] : Array.from({ length: width }, () => tree(depth - 1, width)),
});

const CALLS = {
  anyOf: ['weather', 'search', 'calculate', 'send_mail', 'read_file', 'write_file'].map((name, i) => ({
    type: 'object',
    properties: {
      name: { const: name },
      arguments: {
        type: 'object',
        properties: { [`${name}_input`]: { type: 'string' }, count: { type: 'integer', minimum: i } },
        required: [`${name}_input`, 'count'],
        additionalProperties: false,
      },
    },
    required: ['name', 'arguments'],
    additionalProperties: false,
  })),
};

const COUNTRIES = Array.from(
  { length: 2_000 },
  (_, i) => `${(i * 7919) % 2_000} of the values: ${i.toString(36)}`,
);

const both = (values) => values.flatMap((value) => [JSON.stringify(value), JSON.stringify(value, null, 2)]);

export const FORMS = [
  {
    title: 'any JSON object',
    form: { kind: 'json' },
    documents: both([...people, tree(3, 3), { a: [1, 2.5e3, -0.1, { b: null }] }]),
  },
  { title: 'a person', form: { kind: 'json-schema', schema: PERSON }, documents: both(people) },
  {
    title: 'a tree that names itself',
    form: { kind: 'json-schema', schema: TREE },
    documents: both([tree(2, 3), tree(6, 1), tree(3, 2)]),
  },
  {
    title: 'one of six calls',
    form: { kind: 'json-schema', schema: CALLS },
    documents: both([
      { name: 'search', arguments: { search_input: 'the tallest bridge of France', count: 12 } },
      { name: 'write_file', arguments: { write_file_input: 'notes/été.txt', count: 7 } },
    ]),
  },
  {
    title: 'one of 2,000 values',
    form: { kind: 'json-schema', schema: { enum: COUNTRIES } },
    documents: COUNTRIES.slice(0, 40).map((value) => JSON.stringify(value)),
  },
  {
    title: 'a list of dates and words',
    form: {
      kind: 'json-schema',
      schema: { type: 'array', items: { type: 'string', pattern: '^(\\d{4}-\\d\\d-\\d\\d|\\p{L}{1,12})$' } },
    },
    documents: both([
      ['2024-02-29', 'Straße', '今天'],
      ['word', '1999-12-31', 'naïve'],
    ]),
  },
  {
    title: 'a pattern: lines of Markdown',
    form: { kind: 'regex', pattern: '(#{1,3} [^\\n]+\\n\\n([^\\n#][^\\n]*\\n)+\\n?)+' },
    documents: [
      '# Title\n\nSome words, and more of them.\nAnother line.\n',
      '## Überschrift\n\nEin Satz.\n\n### Noch eine\n\nUnd noch einer.\n',
    ],
  },
];
