/**
 * From document to model: defaults, types that exist, names that are found, no name twice, values
 * that make sense. Nothing outside the document is looked at here (files, devices: start.ts), so
 * that -O and `check` can.
 */
import { chainsOf } from "./chain-model.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { given, listOf, mapOf, textOf } from "./fields.ts";
import { validateLog } from "./log-config.ts";
import type { AutherConfig, Config } from "./model.ts";
import { Names } from "./names.ts";
import { tlsOf } from "./parts.ts";
import { checkSections } from "./section-check.ts";
import {
  authOf,
  endpointOf,
  hostsOf,
  loggersOf,
  matchersOf,
  resolversOf,
  routersOf,
  sourceOf,
} from "./sections.ts";
import { servicesOf } from "./service-model.ts";

/** Sections that end in the model; the others are `rest`. */
const MODELLED = new Set(
  (
    "services chains hops authers bypasses admissions resolvers hosts routers loggers api metrics " +
    "log tls"
  ).split(" "),
);

/** The document as a model; throws TsgostError (exit code 2) with the place. */
export function validate(document: DocMap, reading: Reading): Config {
  const names = new Names(document, reading);
  const scope = { document, reading, names };
  const rest: Record<string, DocValue> = {};
  for (const [key, value] of Object.entries(document)) {
    if (!MODELLED.has(key)) rest[key] = value;
  }
  const tls = mapOf(document, "tls");
  const authers = authersOf(document, reading);
  const log = reading.attempt(() => validateLog(mapOf(document, "log"), reading));
  const config: Config = {
    services: servicesOf(scope),
    chains: chainsOf(scope),
    authers,
    bypasses: matchersOf(document, "bypasses", reading),
    admissions: matchersOf(document, "admissions", reading),
    resolvers: resolversOf(document, reading),
    hosts: hostsOf(document, reading),
    routers: routersOf(document, reading),
    loggers: reading.attempt(() => loggersOf(document, reading)) ?? [],
    ...given("api", endpointOf(document, "api", reading)),
    ...given("metrics", endpointOf(document, "metrics", reading)),
    log: log ?? validateLog(undefined, reading),
    ...(tls === undefined ? {} : { tls: tlsOf(tls) }),
    rest,
  };
  checkSections(scope);
  return config;
}

function authersOf(document: DocMap, reading: Reading): AutherConfig[] {
  return listOf(document, "authers").map((map) => ({
    name: textOf(map, "name"),
    auths: listOf(map, "auths").map(authOf),
    source: sourceOf(map, reading),
  }));
}
