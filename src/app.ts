/**
 * Runs a configuration until a signal: its services, the web API and metrics beside them, and new
 * configurations on SIGHUP, every `-R`, or by the API. A new one that fails leaves the old one
 * running. The only file that knows all layers below it.
 */
import type { DocMap } from "./config/document.ts";
import type { Config, EndpointConfig } from "./config/model.ts";
import { planOf } from "./config/plan.ts";
import { EXIT_OK, messageOf, type TsgostError } from "./errors.ts";
import { configureLog, logger as log, reopenLog } from "./log.ts";
import { endpointAuthenticator } from "./registry.ts";
import type { WebOptions, WebServer } from "./serve/web.ts";
import { Services } from "./services.ts";
import { loadNative } from "./sys/addon.ts";
import { ServiceManager } from "./sys/service-manager.ts";

/** A configuration, and the document it was made of. */
export interface Prepared {
  readonly config: Config;
  readonly document: DocMap;
}

/** Where configurations come from while the program runs. */
export interface ConfigSource {
  /** What `run` was given, as a document. */
  readonly document: DocMap;
  /** The one file that it came from, "" if there is none or more than one. */
  readonly file: string;
  /** Reads all sources again; rejects with a TsgostError. */
  read(): Promise<Prepared>;
  /** Checks a document that was changed by the API; throws a TsgostError. */
  prepare(document: DocMap): Prepared;
}

export interface RunOptions {
  /** Print what would be made, make nothing. */
  readonly dryRun: boolean;
  /** Warnings of the configuration are errors. */
  readonly strict?: boolean;
  /** Ends the run as SIGTERM does (library use and tests). */
  readonly signal?: AbortSignal;
  /** Absent: the configuration stays as it is. */
  readonly source?: ConfigSource;
}

/** Runs all services; answers the exit code. */
export async function run(config: Config, options: RunOptions): Promise<number> {
  if (options.dryRun) {
    process.stdout.write(`${planOf(config).join("\n")}\n`);
    return EXIT_OK;
  }
  const end = untilSignal(options.signal);
  let fatal: TsgostError | undefined;
  const services = new Services({
    now: Date.now,
    onFatal: (error) => {
      fatal = error;
      end.now();
    },
  });
  const manager = new ServiceManager(loadNative, log, process.env);
  const program = new Program(config, services, options.source);
  const reload = (): void => {
    manager.reloading();
    void program.reload().finally(() => manager.ready(`${services.infos().length} services`));
  };
  try {
    await services.apply(config);
    await program.serveWeb();
    process.on("SIGHUP", reload);
    log.info("ready", { services: services.infos() });
    manager.ready(`${services.infos().length} services`);
    program.reloadEvery(config.reloadMs ?? 0);
    await end.promise;
  } finally {
    process.off("SIGHUP", reload);
    manager.stopping();
    await program.close();
    await services.close();
    end.forget();
  }
  if (fatal === undefined) return EXIT_OK;
  log.fatal(fatal.message);
  return fatal.exitCode;
}

/** The configuration that runs, how it is replaced, and the web servers that tell of it. */
class Program {
  readonly #services: Services;
  readonly #source: ConfigSource | undefined;
  #config: Config;
  #document: DocMap;
  #web: WebServer[] = [];
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(config: Config, services: Services, source: ConfigSource | undefined) {
    this.#config = config;
    this.#services = services;
    this.#source = source;
    this.#document = source?.document ?? {};
  }

  /** Reads all sources again. Rejects where `isLoud`, else says what failed in the log. */
  async reload(isLoud = false): Promise<void> {
    try {
      reopenLog();
      if (this.#source !== undefined) await this.#replace(await this.#source.read());
      log.info("config reloaded");
    } catch (error) {
      log.error(`reload failed, the old configuration goes on: ${messageOf(error)}`);
      if (isLoud) throw error;
    }
  }

  /** Every `ms` milliseconds; 0 = never. */
  reloadEvery(ms: number): void {
    if (ms <= 0 || this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.reload().finally(() => this.reloadEvery(ms));
    }, ms);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const web = this.#web;
    this.#web = [];
    await Promise.allSettled(web.map((server) => server.close()));
  }

  /** Starts what the sections `api` and `metrics` ask for. */
  async serveWeb(): Promise<void> {
    const { api, metrics } = this.#config;
    if (api !== undefined) await this.#serve("api", api);
    if (metrics !== undefined) await this.#serve("metrics", metrics);
  }

  async #replace({ config, document }: Prepared): Promise<void> {
    await this.#services.apply(config);
    const webOf = ({ api, metrics }: Config): string => JSON.stringify([api, metrics]);
    const isWebSame = webOf(config) === webOf(this.#config);
    configureLog(config.log);
    this.#config = config;
    this.#document = document;
    if (isWebSame) return;
    // After the answer that a request to the API itself may be waiting for.
    setImmediate(() => {
      void this.#serveWebAgain();
    });
  }

  async #serveWebAgain(): Promise<void> {
    const web = this.#web;
    this.#web = [];
    await Promise.allSettled(web.map((server) => server.close()));
    try {
      if (!this.#isClosed) await this.serveWeb();
    } catch (error) {
      log.error(messageOf(error));
    }
  }

  async #serve(what: "api" | "metrics", endpoint: EndpointConfig): Promise<void> {
    const [{ startWeb }, answer] = await Promise.all([
      import("./serve/web.ts"),
      what === "api" ? this.#api(endpoint) : this.#metrics(endpoint),
    ]);
    const authenticator = await endpointAuthenticator(endpoint, this.#config, log);
    try {
      const server = await startWeb({ what, endpoint, authenticator, log, answer });
      const close = async (): Promise<void> => {
        authenticator?.close();
        await server.close();
      };
      this.#web.push({ address: server.address, close });
      log.info(`listening on ${server.address}`, { kind: "service", service: `@${what}` });
    } catch (error) {
      authenticator?.close();
      throw error;
    }
  }

  async #api(endpoint: EndpointConfig): Promise<WebAnswerer> {
    const { Api } = await import("./serve/api.ts");
    const source = this.#source;
    const api = new Api(
      {
        document: () => this.#document,
        apply: async (document) => {
          if (source === undefined) throw new Error("this configuration cannot be changed");
          await this.#replace(source.prepare(document));
        },
        reload: () => this.reload(true),
        file: source?.file ?? "",
        status: (name) => this.#status(name),
      },
      endpoint.pathPrefix ?? "",
    );
    return (request) => api.answer(request);
  }

  async #metrics(endpoint: EndpointConfig): Promise<WebAnswerer> {
    const { renderMetrics } = await import("./serve/metrics.ts");
    const startedSeconds = Math.round(Date.now() / 1000 - process.uptime());
    const page = endpoint.path ?? "/metrics";
    const source = { services: () => this.#services.sources(), chains: this.#services.chains };
    return ({ method, path }) => {
      const isPage = path === page && (method === "GET" || method === "HEAD");
      if (!isPage) return Promise.resolve({ status: 404, type: "text/plain", body: "" });
      const type = "text/plain; version=0.0.4; charset=utf-8";
      return Promise.resolve({ status: 200, type, body: renderMetrics(source, startedSeconds) });
    };
  }

  #status(name: string): DocMap | undefined {
    const found = this.#services.sources().find((service) => service.name === name);
    if (found === undefined) return undefined;
    const total = found.stats.total();
    return {
      createTime: Math.floor((found.events[0]?.timeMs ?? 0) / 1000),
      state: found.state,
      events: found.events.map(({ timeMs, message }) => ({
        time: Math.floor(timeMs / 1000),
        msg: message,
      })),
      stats: {
        totalConns: total.requests,
        currentConns: total.inFlight,
        totalErrs: total.errors,
        inputBytes: total.inputBytes,
        outputBytes: total.outputBytes,
      },
    };
  }
}

type WebAnswerer = WebOptions["answer"];

interface End {
  readonly promise: Promise<void>;
  now(): void;
  forget(): void;
}

/** Settles at the first SIGINT or SIGTERM; the second one ends the process at once. */
function untilSignal(signal: AbortSignal | undefined): End {
  let now = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    now = resolve;
  });
  let count = 0;
  const onSignal = (): void => {
    count++;
    if (count > 1) process.exit(EXIT_OK);
    now();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  signal?.addEventListener("abort", now, { once: true });
  return {
    promise,
    now: () => now(),
    forget: () => {
      // The handlers stay: a signal during the last clean-up must not leave it half-done.
      signal?.removeEventListener("abort", now);
    },
  };
}
