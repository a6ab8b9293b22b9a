/**
 * The cells of the goodput table: round trip, loss, order, rate, direction. Each says how much it
 * carries: enough for some dozens of round trips at the rate that loss allows.
 */
import type { LinkSetup } from "../kit/link.ts";

export type Direction = "down" | "up";
export type Congestion = "newreno" | "cubic";

export interface Cell {
  readonly name: string;
  readonly rttMs: number;
  /** Per cent. */
  readonly loss: number;
  /** Per cent of the packets that arrive later than others. */
  readonly reorder: number;
  readonly mbit: number;
  /** `down`: the core sends; `up`: the client does. */
  readonly direction: Direction;
  readonly bytes: number;
}

const RTTS_MS = [1, 10, 50, 200];
const LOSSES = [0, 0.1, 1, 3];
const REORDERS = [0, 5];
const RATES_MBIT = [10, 1000];
const DIRECTIONS: readonly Direction[] = ["down", "up"];

/** Both ends of a connection have so much, whoever they are. */
export const BUFFER_BYTES = 4 * 1024 ** 2;
export const MTU = 1500;
const MSS = 1448;
const BYTES_MIN = 200_000;
const BYTES_MAX = 8_000_000;
const QUEUE_BYTES_MIN = 30_000;

/** What a transfer may reach: the rate, the buffers, or what loss lets NewReno have. */
function expectedRate(rttMs: number, loss: number, mbit: number): number {
  const perRtt = loss === 0 ? Infinity : (MSS * 1.22) / Math.sqrt(loss / 100);
  return Math.min(mbit * 125_000, (Math.min(BUFFER_BYTES, perRtt) * 1000) / rttMs);
}

function bytesOf(rttMs: number, loss: number, mbit: number): number {
  const seconds = Math.max(0.5, 0.03 * rttMs);
  const bytes = expectedRate(rttMs, loss, mbit) * seconds;
  return Math.round(Math.min(Math.max(bytes, BYTES_MIN), BYTES_MAX) / 1000) * 1000;
}

function allCells(): Cell[] {
  const cells: Cell[] = [];
  for (const direction of DIRECTIONS) {
    for (const mbit of RATES_MBIT) {
      for (const rttMs of RTTS_MS) {
        for (const loss of LOSSES) {
          for (const reorder of REORDERS) {
            const rate = mbit === 1000 ? "1G" : `${mbit}M`;
            const order = reorder === 0 ? "ordered" : `reordered${reorder}%`;
            const name = `${direction} ${rate} ${rttMs}ms ${loss}% ${order}`;
            const bytes = bytesOf(rttMs, loss, mbit);
            cells.push({ name, rttMs, loss, reorder, mbit, direction, bytes });
          }
        }
      }
    }
  }
  return cells;
}

export const CELLS: readonly Cell[] = allCells();

/** Those that `npm test` runs: each value of each property, and all that is hard. */
const TELLING = [
  "down 10M 1ms 0% ordered",
  "down 10M 10ms 1% ordered",
  "down 10M 50ms 0.1% reordered5%",
  "down 10M 50ms 3% ordered",
  "down 10M 200ms 0% ordered",
  "down 10M 200ms 1% reordered5%",
  "down 10M 200ms 3% ordered",
  "down 1G 1ms 0% reordered5%",
  "down 1G 1ms 1% ordered",
  "down 1G 1ms 3% reordered5%",
  "down 1G 10ms 0% ordered",
  "down 1G 10ms 0.1% ordered",
  "down 1G 10ms 1% reordered5%",
  "down 1G 50ms 1% ordered",
  "down 1G 50ms 3% reordered5%",
  "down 1G 200ms 0.1% ordered",
  "down 1G 200ms 1% ordered",
  "up 10M 10ms 0% ordered",
  "up 10M 50ms 1% ordered",
  "up 10M 200ms 3% reordered5%",
  "up 1G 1ms 0.1% reordered5%",
  "up 1G 10ms 0% ordered",
  "up 1G 50ms 1% reordered5%",
  "up 1G 200ms 0.1% ordered",
] as const;

export const TELLING_CELLS: readonly Cell[] = TELLING.map((name) => {
  const cell = CELLS.find((each) => each.name === name);
  if (cell === undefined) throw new Error(`no cell is called ${name}`);
  return cell;
});

/** Each direction of a cell's link: half the round trip, the same rate, a queue of one BDP. */
export function linkOf({ rttMs, loss, reorder, mbit }: Cell): LinkSetup {
  const rate = mbit * 125_000;
  return {
    delayUs: (rttMs * 1000) / 2,
    loss: loss / 100,
    reorder: reorder / 100,
    reorderUs: (rttMs * 1000) / 2,
    rate,
    queueBytes: Math.max(QUEUE_BYTES_MIN, (rate * rttMs) / 1000),
  };
}
