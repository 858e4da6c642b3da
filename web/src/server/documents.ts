/**
 * Owns: the shapes of what the server sends, as src/api writes them.
 * Refuses to know: how they are asked for.
 */
export type {
  ExpertLayerDocument,
  ExpertsDocument,
  MachineDocument,
  MachineModelDocument,
} from '../../../src/api/hadal/machine.ts';
export type { ChatChunk } from '../../../src/api/openai/chat-response.ts';
export type { ModelDocument, ModelsDocument } from '../../../src/api/openai/models.ts';
export type { UsageDocument as ChatUsage } from '../../../src/api/openai/usage.ts';
