/**
 * The second form of `tsgost route`: what each service of a configuration would do with a
 * destination. Nothing is dialled and no node is counted; names are looked up as the service would,
 * and by the system where only an address is known.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Explanation, ServiceRouter } from "../chain/router.ts";
import { load, modelOf } from "../config/load.ts";
import type { Config, ServiceConfig } from "../config/model.ts";
import { prepareStart } from "../config/start.ts";
import { tungoOptions } from "../config/tungo.ts";
import { EXIT_OK, usageError } from "../errors.ts";
import { logger } from "../log.ts";
import { Registry } from "../registry.ts";
import type { Network } from "../types.ts";
import { loadFlags, printWarnings } from "./common.ts";
import type { CommandValues } from "./common.ts";
import { printOut } from "./version.ts";

export interface Destination {
  readonly host: string;
  readonly port: number;
}

/** For each destination and service. */
interface Answer extends Explanation {
  readonly service: string;
  /** What would happen if only the address of the name were known. */
  readonly byAddress?: Explanation;
}

const LOOKUP_MS = 5000;
/** Stands for the service where only -F is given. */
const ANY_SERVICE = "socks5://127.0.0.1:0";

export async function explainAll(
  values: CommandValues,
  network: Network,
  destinations: readonly Destination[],
): Promise<number> {
  const client = clientOf(values);
  const config = await configOf(values);
  const registry = new Registry(config, { log: logger });
  registry.hold();
  const routers = config.services.map((service) => ({
    service,
    router: routerOf(registry, service),
  }));
  try {
    await registry.ready();
    for (const destination of destinations) {
      const address = values.has("no-lookup") ? undefined : await addressOf(destination.host);
      for (const { service, router } of routers) {
        const ask = (to: Destination): Promise<Explanation> => explain(router, network, to, client);
        const known = await ask(destination);
        const byAddress =
          address === undefined ? undefined : await ask({ host: address, port: destination.port });
        const answer = { service: service.name, ...known };
        tell(byAddress === undefined ? answer : { ...answer, byAddress }, values.has("json"));
      }
    }
  } finally {
    for (const { router } of routers) router.close();
    registry.release();
  }
  return EXIT_OK;
}

async function configOf(values: CommandValues): Promise<Config> {
  const [given, nodes, sources] = [values.list("L"), values.list("F"), values.list("C")];
  const services = given.length + sources.length === 0 && nodes.length > 0 ? [ANY_SERVICE] : given;
  const loaded = await load({ ...loadFlags(values), services, nodes, sources }, process.env);
  const { document, reading } = loaded;
  const model = modelOf(loaded);
  const config = prepareStart({ config: model, document, reading, environment: process.env });
  printWarnings(loaded);
  return config;
}

function routerOf(registry: Registry, service: ServiceConfig): ServiceRouter {
  if (service.listener.type !== "tungo") return registry.router(service);
  const { options } = tungoOptions(service);
  return registry.router(service, { local: { device: options.interface, mark: options.soMark } });
}

function explain(
  router: ServiceRouter,
  network: Network,
  to: Destination,
  clientIp: string,
): Promise<Explanation> {
  const client = clientIp === "" ? {} : { clientIp };
  return router.explain(network, to, { signal: AbortSignal.timeout(LOOKUP_MS), ...client });
}

function clientOf(values: CommandValues): string {
  const client = values.text("client");
  if (client === "" || isIP(client) !== 0) return client;
  throw usageError(`--client ${JSON.stringify(client)} is no IP address`);
}

/** An address of a name as the system knows it; undefined for an address, or none. */
async function addressOf(host: string): Promise<string | undefined> {
  if (isIP(host) !== 0) return undefined;
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), LOOKUP_MS);
  });
  const found = lookup(host).then(
    ({ address }) => address,
    () => undefined,
  );
  const address = await Promise.race([found, late]);
  clearTimeout(timer);
  return address;
}

function tell(answer: Answer, isJson: boolean): void {
  if (isJson) {
    printOut(JSON.stringify(answer));
    return;
  }
  const { service, network, destination, byAddress } = answer;
  printOut(`${destination}/${network} by ${service}: ${sentence(answer)}`);
  for (const line of hopLines(answer)) printOut(`  ${line}`);
  if (byAddress === undefined) return;
  const isSame = sentence(byAddress) === sentence(answer);
  const what = isSame ? "the same" : sentence(byAddress);
  printOut(`  if only ${byAddress.destination} is known: ${what}`);
  if (!isSame) for (const line of hopLines(byAddress)) printOut(`    ${line}`);
}

function sentence(explanation: Explanation): string {
  const { outcome, hit, chain, local, error, address } = explanation;
  const rule = hit?.rule === "" ? "no rule of the whitelist matches" : `rule ${hit?.rule ?? ""}`;
  const why = hit === undefined ? "" : ` (${hit.level}'s bypass ${hit.bypass}: ${rule})`;
  const known = address === undefined ? "" : `, resolved to ${address}`;
  switch (outcome) {
    case "refused":
      return `refused${why}${known}`;
    case "failed":
      return `fails: ${error ?? "no way"}${known}`;
    case "direct": {
      const { device, mark } = local ?? {};
      const by = device === undefined || device === "" ? "" : ` by interface ${device}`;
      const marked = mark === undefined || mark === 0 ? "" : ` with mark ${mark}`;
      return `direct${by}${marked}${why}${known}`;
    }
    case "chain":
      return `through ${chain ?? "its chain"}${why}${known}`;
  }
}

/** What matchers say; then the node whose turn it is, and how many could take its place. */
function hopLines({ outcome, hops, chains = [] }: Explanation): string[] {
  const grouped = chains.map(({ chain, rule, accepts }) => {
    return `${chain} ${accepts ? "takes it" : "does not take it"}: matcher ${rule}`;
  });
  const nodes = hops.flatMap(({ nodes, skipped, hop, matchers = [] }) => {
    const lines = matchers.map(({ node, matcher, accepts, priority }) => {
      const what = accepts ? `takes it with priority ${priority}` : "does not take it";
      return `${hop}/${node} ${what}: matcher ${matcher}`;
    });
    if (outcome !== "chain") return lines;
    const [first = ""] = nodes;
    if (skipped !== undefined) return [...lines, `${hop}: left out with all behind it`];
    return [...lines, nodes.length > 1 ? `${first} (one of ${nodes.length})` : first];
  });
  return [...grouped, ...nodes];
}
