/** A core for replays: always the same settings and the same entropy, so always the same bytes. */
import * as abi from "../../assembly/abi.ts";
import { Core } from "../core/core.ts";
import { CORE_OPTIONS } from "../core/options.ts";
import { REPLAY_SETTINGS } from "./driver.ts";

/** Not random on purpose: nothing here meets a network. */
function fixedEntropy(): Uint8Array {
  return Uint8Array.from({ length: abi.ENTROPY_BYTES }, (_, index) => (index * 151 + 17) & 0xff);
}

export function replayCore(wasm: WebAssembly.Module): Core {
  const words = new Map<number, number>();
  for (const [key, value] of Object.entries(REPLAY_SETTINGS)) {
    const option = CORE_OPTIONS.find((candidate) => candidate.key === key);
    if (option !== undefined) words.set(option.word, value);
  }
  return Core.create(wasm, words, fixedEntropy());
}
