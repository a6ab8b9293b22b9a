/**
 * The two programs that talk to each other, behind one face: each is started with a command line in
 * GOST's form. gost is a child process; tsgost runs in this one, from its command line on.
 */
import { load, modelOf } from "../../src/config/load.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { Services } from "../../src/services.ts";
import type { CertFiles } from "../chain/world.ts";
import type { Gost } from "./peer.ts";

export interface Running {
  stop(): Promise<unknown>;
}

export interface Engine {
  readonly name: string;
  /** Starts with `args`; resolves when `port` accepts connections (0: when it can be known). */
  start(args: readonly string[], port: number): Promise<Running>;
  /** What the query of a server's URL needs so that it has a certificate. */
  readonly certQuery: string;
}

export function gostEngine(gost: Gost): Engine {
  return { name: "gost", certQuery: "", start: (args, port) => gost.start(args, port) };
}

export function tsgostEngine(files: CertFiles): Engine {
  const certQuery = `certFile=${files.certFile}&keyFile=${files.keyFile}`;
  return { name: "tsgost", certQuery, start: startServices };
}

async function startServices(args: readonly string[]): Promise<Running> {
  const config = modelOf(await load(parseFlags(args), {}));
  const services = new Services({
    now: () => performance.now(),
    onFatal: (error) => {
      throw error;
    },
  });
  await services.apply(config);
  return { stop: () => services.close() };
}

/** Runs `body` while each of `starts` runs, started in this order and stopped in the other one. */
export async function during(
  starts: readonly (() => Promise<Running>)[],
  body: () => Promise<void>,
): Promise<void> {
  const [first, ...rest] = starts;
  if (first === undefined) return body();
  const running = await first();
  try {
    await during(rest, body);
  } finally {
    await running.stop();
  }
}
