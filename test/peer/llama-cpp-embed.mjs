/**
 * Owns: what llama.cpp makes of token ids as vectors.
 * Refuses to know: our code, and what a good answer is.
 *
 * node llama-cpp-embed.mjs PEER MODEL ARCHITECTURE REQUEST
 *   PEER          folder whose node_modules has node-llama-cpp 3.x
 *   MODEL         GGUF file
 *   ARCHITECTURE  its `general.architecture`, for the key `pooling_type`
 *   REQUEST       JSON: { inputs: number[][] }
 *   prints        JSON: { mean: number[][], last: number[][] }, pooled by llama.cpp itself
 */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [peer, modelPath, architecture, request] = process.argv.slice(2);
const { inputs } = JSON.parse(request);

const entry = createRequire(join(resolve(peer), 'from-here.cjs')).resolve('node-llama-cpp');
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 2, logLevel: LlamaLogLevel.error });

/** `llama_pooling_type` of llama.h. */
const POOLING_TYPES = { mean: 1, last: 3 };
const answers = {};
for (const [pooling, type] of Object.entries(POOLING_TYPES)) {
  const metadataOverrides = { [architecture]: { pooling_type: type } };
  const model = await llama.loadModel({ modelPath, metadataOverrides });
  const context = await model.createEmbeddingContext({ contextSize: 256, batchSize: 256, threads: 2 });
  answers[pooling] = [];
  for (const ids of inputs) answers[pooling].push([...(await context.getEmbeddingFor([...ids])).vector]);
  await model.dispose();
}
process.stdout.write(JSON.stringify(answers), () => process.exit(0));
