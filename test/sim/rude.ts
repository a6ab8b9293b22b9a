/**
 * Host calls that make no sense: handles of flows long gone, of another generation, of nobody;
 * counts out of range; time that goes backwards. Each has to be refused and to change nothing.
 */
import * as abi from "../../assembly/abi.ts";
import type { CoreHarness } from "../kit/core.ts";
import type { Random } from "../kit/random.ts";

const HUGE = 0x7fff_ffff;
const OLD_MAX = 64;

export class Rude {
  readonly #core: CoreHarness;
  readonly #random: Random;
  readonly #old: number[] = [];

  constructor(core: CoreHarness, random: Random) {
    this.#core = core;
    this.#random = random;
  }

  /** The host has no business with this handle any more. */
  forget(handle: number): void {
    this.#old.push(handle);
    if (this.#old.length > OLD_MAX) this.#old.shift();
  }

  /** `living`: handles of flows; `mappings`: of those that no call may hit. */
  act(living: readonly number[], mappings: ReadonlySet<number>): void {
    const nobody = [0, 0xffff_ffff, abi.HANDLE_MAPPING, HUGE];
    const old = this.#random.pick([...this.#old, ...nobody]);
    if (!living.includes(old) && !mappings.has(old)) this.#callStale(old);
    if (living.length > 0) this.#callWrong(this.#random.pick(living));
    this.#callBeyond();
  }

  #callStale(handle: number): void {
    const { exports, nowUs } = this.#core;
    const answers = {
      accept: exports.accept(handle, nowUs),
      reject: exports.reject(handle, abi.REJECT_RST, nowUs),
      recvPeek: exports.recvPeek(handle),
      recvConsume: exports.recvConsume(handle, this.#random.pick([0, 1, HUGE]), nowUs),
      sendReserve: exports.sendReserve(handle, this.#random.pick([0, 1, HUGE])),
      sendCommit: exports.sendCommit(handle, this.#random.pick([0, 1, HUGE]), nowUs),
      shutdown: exports.shutdown(handle, nowUs),
      abort: exports.abort(handle, nowUs),
      release: exports.release(handle),
      udpClose: exports.udpClose(handle, nowUs),
    };
    for (const [call, answer] of Object.entries(answers)) {
      if (answer !== abi.ERR_STALE) throw new Error(`${call} of no flow ${handle}: ${answer}`);
    }
  }

  #callWrong(handle: number): void {
    const { exports, nowUs } = this.#core;
    const other = (handle ^ (1 << abi.HANDLE_GEN_SHIFT)) >>> 0;
    if (exports.recvPeek(other) !== abi.ERR_STALE) throw new Error(`${other} names a flow`);
    const answers = {
      recvConsume: exports.recvConsume(handle, HUGE, nowUs),
      sendCommit: exports.sendCommit(handle, HUGE, nowUs),
      reject: exports.reject(handle, 99, nowUs),
      udpClose: exports.udpClose(handle, nowUs),
    };
    for (const [call, answer] of Object.entries(answers)) {
      // Of a flow that closed, calls are taken and do nothing.
      if (answer > 0) throw new Error(`${call} out of range: ${answer}`);
    }
  }

  #callBeyond(): void {
    const { exports, nowUs } = this.#core;
    const answers = {
      ingest: exports.ingest(abi.RX_MAX + 1, nowUs),
      stageSend: exports.stageSend(abi.STAGE_MAX, 1, nowUs),
      "stageSend of many": exports.stageSend(0, HUGE, nowUs),
      init: exports.init(),
    };
    for (const [call, answer] of Object.entries(answers)) {
      if (answer >= 0) throw new Error(`${call} answered ${answer}`);
    }
    exports.poll(nowUs - 5_000_000, 10);
  }
}
