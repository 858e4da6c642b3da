/**
 * Owns: what running a model here costs beside a hosted API, with every assumption in words.
 * Refuses to know: machines, terminals; prices come from the caller.
 */
import { HadalError } from '../error.ts';

/** Prices and traffic. */
export interface CostQuestion {
  /** Of the hosted API, for a million tokens. */
  readonly inputPrice: number;
  readonly outputPrice: number;
  /** Tokens a month. */
  readonly inputTokens: number;
  readonly outputTokens: number;
  /** Price of the machine. */
  readonly machinePrice: number;
  /** Over how many months it is written off. */
  readonly months: number;
  readonly watts: number;
  readonly kilowattHourPrice: number;
  /** What runs which model here, for people. */
  readonly by: string;
  /** Predicted rates of one answer, and how many times that many answers at the same time make. */
  readonly decodePerSecond: number;
  readonly prefillPerSecond: number;
  readonly batchGain: number;
}

/** The comparison, money a month. */
export interface CostAnswer {
  readonly hosted: number;
  readonly own: { readonly machine: number; readonly power: number; readonly total: number };
  /** Hours of work a month, and the share of the month that is. */
  readonly busyHours: number;
  readonly busyShare: number;
  /** Machines that the traffic needs. */
  readonly machines: number;
  /** How many times this traffic makes both cost the same; undefined where a hosted token costs nothing. */
  readonly evenAt?: number;
  readonly assumptions: readonly string[];
}

const HOURS_A_MONTH = 730;
/** A machine that answers people is never busier than this, for they come in waves. */
const MOST_BUSY = 0.6;

/**
 * Compares a hosted API with the own machine.
 *
 * @throws HadalError `cost-impossible` for prices and amounts that are no numbers from 0 up.
 * @example compareCost({ inputPrice: 0.27, outputPrice: 1.1, ... }).own.total
 */
export function compareCost(question: CostQuestion): CostAnswer {
  for (const [name, value] of Object.entries(question)) {
    if (name === 'by' || (Number.isFinite(value) && value >= 0)) continue;
    throw new HadalError('cost-impossible', {
      what: name,
      expected: 'a number from 0 up',
      got: String(value),
      next: 'correct it',
    });
  }
  const {
    inputPrice,
    outputPrice,
    inputTokens,
    outputTokens,
    machinePrice,
    months,
    watts,
    kilowattHourPrice,
  } = question;
  const decodeRate = question.decodePerSecond * question.batchGain;
  const busyHours = (inputTokens / question.prefillPerSecond + outputTokens / decodeRate) / 3600;
  const machines = Math.max(1, Math.ceil(busyHours / (HOURS_A_MONTH * MOST_BUSY)));
  const hosted = (inputTokens * inputPrice + outputTokens * outputPrice) / 1e6;
  const machine = (machines * machinePrice) / Math.max(1, months);
  const power = (watts / 1000) * kilowattHourPrice * busyHours;
  const perTraffic = hosted - power;
  return {
    hosted,
    own: { machine, power, total: machine + power },
    busyHours,
    busyShare: busyHours / (HOURS_A_MONTH * machines),
    machines,
    ...(perTraffic > 0 ? { evenAt: machine / perTraffic } : {}),
    assumptions: [
      `the API costs ${inputPrice} for a million input tokens and ${outputPrice} for a million output tokens, without caching discounts`,
      `${inputTokens.toLocaleString('en-US')} input and ${outputTokens.toLocaleString('en-US')} output tokens a month`,
      `a machine costs ${machinePrice}, written off over ${months} months, without people, rooms or repairs`,
      `it takes ${watts} watts while it works, at ${kilowattHourPrice} for a kilowatt hour, and nothing counts while it waits`,
      `${question.by} answers as well as the model of the API; its rates are predictions`,
      `prompts are read at ${round(question.prefillPerSecond)} tokens a second, answers made at ${round(question.decodePerSecond)}, times ${question.batchGain} for answers at the same time`,
      `a machine is busy at most ${MOST_BUSY * 100} % of the ${HOURS_A_MONTH} hours of a month`,
    ],
  };
}

function round(value: number): string {
  return value.toPrecision(3);
}
