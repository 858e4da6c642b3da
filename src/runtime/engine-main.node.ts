/**
 * Owns: the main file of an engine's thread or process: the engine, and the grammars that its answers are held to.
 * Refuses to know: who asks, what a grammar is.
 */
import { grammarConstraints } from '../chat/grammar/constraint.ts';
import { serveEngine } from '../engine/serve-engine.node.ts';
import { goOffline, isOffline } from '../hub/offline.node.ts';
import { tokenizerMaker } from './tokenizer-maker.node.ts';

if (isOffline(process.env)) goOffline();
serveEngine({
  constraints: async (path, file) => grammarConstraints(await tokenizerMaker(path, file)),
});
