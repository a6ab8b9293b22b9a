/**
 * Ends a process whose fuzz target does not come back: a thread of its own watches a counter, and
 * writes the input that is being run, with the command that repeats it, before it kills.
 */
import { Worker } from "node:worker_threads";

const INPUT_MAX = 1 << 20;
const HEAD_BYTES = 256;

/** Plain JavaScript: a thread does not inherit the loader of TypeScript. */
const WATCH = `
const { workerData } = require("node:worker_threads");
const fs = require("node:fs");
const words = new Int32Array(workerData.shared, 0, 2);
const bytes = new Uint8Array(workerData.shared);
let seen = -1;
setInterval(() => {
  const now = Atomics.load(words, 0);
  if (now !== seen || now === 0) { seen = now; return; }
  const name = Buffer.from(bytes.slice(16, 16 + bytes[8])).toString();
  const input = bytes.slice(${HEAD_BYTES}, ${HEAD_BYTES} + Atomics.load(words, 1));
  const file = workerData.folder + "/" + name + "-hang";
  fs.mkdirSync(workerData.folder, { recursive: true });
  fs.writeFileSync(file, input);
  const command = "npm run fuzz -- --target " + name + " --file " + file;
  fs.writeSync(2, "HANG " + name + ": " + command + "\\n");
  process.kill(process.pid, "SIGKILL");
}, workerData.ms);
`;

export class Watchdog {
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  readonly #worker: Worker;

  /** `ms`: how long one run may take; `folder`: where the input of a hang goes. */
  constructor(ms: number, folder: string) {
    const shared = new SharedArrayBuffer(HEAD_BYTES + INPUT_MAX);
    this.#words = new Int32Array(shared, 0, 2);
    this.#bytes = new Uint8Array(shared);
    this.#worker = new Worker(WATCH, {
      eval: true,
      execArgv: [],
      workerData: { shared, ms, folder },
    });
    this.#worker.unref();
  }

  /** Whose inputs follow. */
  name(target: string): void {
    const bytes = Buffer.from(target).subarray(0, 200);
    this.#bytes[8] = bytes.length;
    this.#bytes.set(bytes, 16);
  }

  /** A run begins. */
  begin(input: Uint8Array): void {
    const part = input.subarray(0, INPUT_MAX);
    this.#bytes.set(part, HEAD_BYTES);
    Atomics.store(this.#words, 1, part.length);
    const next = (Atomics.load(this.#words, 0) + 1) & 0x3fff_ffff;
    Atomics.store(this.#words, 0, next === 0 ? 1 : next);
  }

  /** Nothing runs. */
  rest(): void {
    Atomics.store(this.#words, 0, 0);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
