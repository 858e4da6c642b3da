/**
 * Owns: the structured log: one JSON line for each thing that happened, to standard error.
 * Refuses to know: what is logged. No line holds what a request or an answer says, nor a key.
 */
import { type DestinationStream, pino } from 'pino';

/** A structured log. */
export interface Log {
  info(fields: object, sentence: string): void;
  warn(fields: object, sentence: string): void;
  error(fields: object, sentence: string): void;
}

/** A stream that log lines are written to. */
export interface LogSink {
  write(text: string): unknown;
}

/**
 * A log into a stream. Lines that the stream cannot take (a full disk) are lost, and nothing else.
 *
 * @example createLog(process.stderr).info({ port: 11434 }, 'listening');
 */
export function createLog(sink: LogSink): Log {
  const stream: DestinationStream = {
    write(line) {
      try {
        sink.write(line);
      } catch {
        // Nothing could be told of it anywhere.
      }
    },
  };
  return pino({ base: null, timestamp: pino.stdTimeFunctions.isoTime }, stream);
}
