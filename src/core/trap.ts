/**
 * The core's calls with traps in mind (DOS-7). An instance that trapped once is dead: what it holds
 * can no longer be trusted. Carriers call it from anywhere (a socket became readable, a promise
 * settled), where nobody could catch, so to them a dead core answers as if each handle were stale.
 * The pump's own calls throw, and its guard catches.
 */
import * as abi from "../../assembly/abi.ts";
import { defect } from "../errors.ts";
import type { CoreExports } from "./core.ts";

/** Who is told of the first trap. */
export interface TrapState {
  trapped: unknown;
  onTrap: ((error: unknown) => void) | undefined;
}

type Call = (...values: number[]) => number;
type CallName = Exclude<keyof CoreExports, "memory" | "txDone" | "xorMask" | "init">;

/** Calls that act on a handle. */
const HANDLE_CALLS = [
  "accept",
  "reject",
  "recvPeek",
  "recvConsume",
  "sendReserve",
  "sendCommit",
  "shutdown",
  "abort",
  "release",
  "udpClose",
] as const satisfies readonly CallName[];
const PUMP_CALLS = [
  "ingest",
  "events",
  "poll",
  "flush",
  "deadline",
  "stageSend",
  "closeAll",
] as const satisfies readonly CallName[];

function note(state: TrapState, error: unknown): void {
  if (state.trapped !== undefined) return;
  state.trapped = error;
  state.onTrap?.(error);
}

/** The exports of a module, guarded; `state` hears of a trap. */
export function guardTraps(exports: CoreExports, state: TrapState): CoreExports {
  const all = exports as unknown as Readonly<Record<CallName, Call>>;
  const calls: Partial<Record<CallName, Call>> = {};
  for (const name of HANDLE_CALLS) {
    const call = all[name];
    calls[name] = (a = 0, b = 0, c = 0) => {
      if (state.trapped !== undefined) return abi.ERR_STALE;
      try {
        return call(a, b, c);
      } catch (error) {
        note(state, error);
        return abi.ERR_STALE;
      }
    };
  }
  for (const name of PUMP_CALLS) {
    const call = all[name];
    calls[name] = (a = 0, b = 0, c = 0) => {
      if (state.trapped !== undefined) throw defect("the core has trapped", state.trapped);
      try {
        return call(a, b, c);
      } catch (error) {
        note(state, error);
        throw error;
      }
    };
  }
  return { ...exports, ...calls };
}
