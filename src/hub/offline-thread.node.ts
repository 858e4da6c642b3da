/**
 * Owns: going offline as the first thing that a thread does, before the file that it runs.
 * Refuses to know: what that file is.
 */
import { goOffline } from './offline.node.ts';

goOffline();
