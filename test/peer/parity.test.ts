/**
 * Owns: our logits against llama.cpp's on a real model, teacher-forced on llama.cpp's greedy output.
 * Refuses to know: how either computes them.
 *
 * Both round activations to int8, and one rounding that falls the other way changes all that follow, so each is a little
 * away from the float32 arithmetic of the reference backend, and llama.cpp on one instruction set is as far from
 * llama.cpp on another. Those two distances judge ours: from float32 it may be no further than llama.cpp is, but for a
 * tenth, and from llama.cpp no further than llama.cpp's AVX2 kernels are from its best ones, but for a fifth.
 */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { Backend } from '../../src/backend/backend.ts';
import { chooseBackend } from '../../src/backend/choose.node.ts';
import { createReferenceBackend } from '../../src/backend/reference/reference.ts';
import { closeModelFile, openModelFile } from '../../src/formats/open.node.ts';
import type { ModelFile } from '../../src/formats/tensor-info.ts';
import { loadModel } from '../../src/model/load.ts';
import { tokenizerFromGguf } from '../../src/tokenizer/from-gguf.ts';
import { describeWith, testModelPath } from '../fixtures/needs.ts';
import { type Figures, figuresLine, Tally } from './distance.ts';
import { Forced } from './forced.ts';
import { type Answers, float32Logits, llamaCppAnswers, peerWithKernels } from './kept.ts';

const PROMPT_TOKENS = 128;
const TOKENS = 128;
/** The reference backend takes half a minute for a prompt; each is computed once and kept. */
const REFERENCE_PROMPTS = Number(process.env.HADAL_TEST_REFERENCE_PROMPTS ?? 4);
const MINUTES = 60_000;

const { prompts: texts }: { prompts: { name: string; text: string }[] } = JSON.parse(
  readFileSync(new URL('./prompts.json', import.meta.url), 'utf8'),
);
/** Texts whose float32 logits are computed, spread over all kinds. */
const judged = Array.from({ length: REFERENCE_PROMPTS }, (_, i) =>
  Math.floor((i * texts.length) / REFERENCE_PROMPTS),
);

describeWith(['weights', 'peer'], 'llama.cpp on the same file', () => {
  const modelPath = testModelPath()!;
  let file: ModelFile;
  let ours: number[][];
  let prompts: number[][];
  let answers: Answers;
  /** llama.cpp's AVX2 kernels, from the kernels it chooses itself here. */
  let spread: Figures;

  beforeAll(async () => {
    file = await openModelFile(modelPath);
    const tokenizer = tokenizerFromGguf(file.metadata);
    ours = texts.map(({ text }) => [...tokenizer.encode(text, { special: true })]);
    prompts = ours.map((ids) => ids.slice(0, PROMPT_TOKENS));
    const peer = process.env.HADAL_TEST_PEER!;
    const request = { modelPath, texts: texts.map(({ text }) => text), prompts, tokens: TOKENS };
    answers = await llamaCppAnswers({ peer, ...request });
    const { continuations, vocab } = answers;
    const older = await llamaCppAnswers({
      peer: await peerWithKernels(peer, 'haswell'),
      ...request,
      continuations,
    });
    const tally = new Tally();
    for (const text of prompts.keys())
      tally.add(text, await answers.logits(text), await older.logits(text), vocab);
    spread = tally.figures();
    report('llama.cpp with AVX2, from llama.cpp', spread);
  }, 20 * MINUTES);
  afterAll(() => closeModelFile(file));

  it('cuts texts into the same tokens', () => {
    expect(ours).toEqual(answers.textIds);
    expect(prompts.map((ids) => ids.length)).toEqual(texts.map(() => PROMPT_TOKENS));
  });

  it(
    'is close to the reference backend, whose distance both are judged by',
    async () => {
      const tally = new Tally();
      for (const text of judged) {
        tally.add(text, await answers.logits(text), await reference(text), answers.vocab);
      }
      report('reference, from llama.cpp', tally.figures());
      expectClose(tally.figures());
    },
    // Ten times what it takes alone.
    5 * MINUTES * REFERENCE_PROMPTS,
  );

  for (const rowClass of ['decode', 'prefill'] as const) {
    it(
      `is close to the ${rowClass} class of the chosen backend, which is as near to float32 [needs native]`,
      async (test) => {
        await using backend = chooseBackend();
        test.skip(backend.info.name === 'reference', 'the native addon is not built');
        const forced = await forcedOn(backend, { cache: 'F16', chunk: PROMPT_TOKENS });
        const fromPeer = new Tally();
        const oursFromFloat32 = new Tally();
        const peerFromFloat32 = new Tally();
        for (const [text, prompt] of prompts.entries()) {
          const peer = await answers.logits(text);
          const logits = await forced.logits(prompt, answers.continuations[text]!, rowClass);
          fromPeer.add(text, peer, logits, answers.vocab);
          if (!judged.includes(text)) continue;
          const exact = await reference(text);
          oursFromFloat32.add(text, exact, logits, answers.vocab);
          peerFromFloat32.add(text, exact, peer, answers.vocab);
        }
        const title = `${backend.info.name} ${backend.info.isa}, ${rowClass} class`;
        report(`${title}, from llama.cpp`, fromPeer.figures());
        report(`${title}, from float32`, oursFromFloat32.figures());
        report('llama.cpp, from float32', peerFromFloat32.figures());
        expectClose(fromPeer.figures());
        const ratio = oursFromFloat32.figures().meanKl / peerFromFloat32.figures().meanKl;
        expect(ratio, 'distance from float32 over llama.cpp’s').toBeLessThanOrEqual(1.1);
      },
      5 * MINUTES * (5 + REFERENCE_PROMPTS),
    );
  }

  /** As near to llama.cpp as llama.cpp on another instruction set is. */
  function expectClose(figures: Figures): void {
    expect(figures.meanKl, 'mean KL').toBeLessThan(1.2 * spread.meanKl);
    const apart = { ours: 1 - figures.agreement, theirs: 1 - spread.agreement };
    expect(apart.ours, 'part of the positions with another best token').toBeLessThanOrEqual(
      1.2 * apart.theirs,
    );
    const clear = figures.disagreements.filter(({ margin }) => !(margin < 0.5));
    expect(clear, 'disagreements where llama.cpp was sure').toEqual([]);
  }

  async function forcedOn(backend: Backend, how: { cache: 'F16' | 'F32'; chunk: number }): Promise<Forced> {
    return new Forced(await loadModel(file, backend), backend, { tokens: PROMPT_TOKENS + TOKENS, ...how });
  }

  /** Float32 logits [TOKENS, vocab] of one text: activations and cache rows are never rounded to less. */
  async function reference(text: number): Promise<Float32Array> {
    const ids = [prompts[text]!, answers.continuations[text]!] as const;
    return float32Logits(modelPath, ids, async () => {
      await using backend = createReferenceBackend();
      const forced = await forcedOn(backend, { cache: 'F32', chunk: 32 });
      return forced.logits(...ids, 'prefill');
    });
  }
});

function report(title: string, figures: Figures): void {
  console.info(figuresLine(title, figures));
}
