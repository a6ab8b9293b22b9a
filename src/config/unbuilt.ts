/**
 * What GOST's configuration can say, is read and printed, and has no place here: a start refuses
 * it where a service would use it, so that nothing is ignored in silence. (Types of components and
 * references of services, hops and nodes: start.ts.)
 */
import { configError } from "../errors.ts";
import { isDocMap, ownKey } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { listOf, mapOf, textsOf } from "./fields.ts";

const TARGET_KEYS = "bypass bypasses http tls probe auth".split(" ");
const FORWARDER_KEYS = "hop hopGroup".split(" ");
/** Of a listener's certificate: what only clients, and only the section `tls`, take. */
const LISTENER_TLS_IDLE = "secure serverName validity organization commonName".split(" ");
const SECTION_TLS_IDLE = "secure serverName options rejectUnknownSNI serverNames".split(" ");
const SOURCE_KEYS = ["plugin", "redis"];

/** Keys of services, hops and nodes that name objects with sources, and their sections. */
const SOURCED: Readonly<Record<string, string>> = {
  bypass: "bypasses",
  bypasses: "bypasses",
  admission: "admissions",
  admissions: "admissions",
  resolver: "resolvers",
  hosts: "hosts",
};

export function refuseParts(document: DocMap, reading: Reading): void {
  const services = listOf(document, "services");
  const chains = listOf(document, "chains").flatMap((chain) => listOf(chain, "hops"));
  const hops = [...chains, ...listOf(document, "hops")];
  const nodes = hops.flatMap((hop) => listOf(hop, "nodes"));
  for (const service of services) {
    refuseForwarder(service, reading);
    refuseService(service, reading);
  }
  // GOST demands certificates of all clients then: without that everybody would be let in.
  refuse(mapOf(document, "tls"), ["caFile"], reading, "of the section tls (give it to listeners)");
  warnIdle(mapOf(document, "tls"), SECTION_TLS_IDLE, reading, "of the section tls");
  for (const node of nodes) {
    refuse(mapOf(node, "connector"), ["tls"], reading, "of a connector");
    refuse(mapOf(node, "dialer"), ["auth"], reading, "of a dialer");
    refuse(node, ["tls", "probe"], reading, "of a node");
  }
  for (const service of services) {
    const group = mapOf(mapOf(service, "handler") ?? {}, "chainGroup") ?? {};
    for (const chain of listOf(group, "chains")) {
      refuse(chain, ["probe"], reading, "of a grouped chain");
    }
  }
  for (const user of [...services, ...hops, ...nodes]) refuseSources(user, document, reading);
}

function refuseService(service: DocMap, reading: Reading): void {
  refuse(mapOf(service, "handler"), ["tls"], reading, "of a handler (it takes the listener's)");
  const listener = mapOf(service, "listener");
  // Nothing that listens here reaches its peers through a chain: what is meant is the handler's.
  refuse(listener, ["chain"], reading, "of a listener (it belongs to the handler)");
  const tls = listener === undefined ? undefined : mapOf(listener, "tls");
  warnIdle(tls, LISTENER_TLS_IDLE, reading, "of a listener's tls");
}

function warnIdle(
  map: DocMap | undefined,
  keys: readonly string[],
  reading: Reading,
  whose: string,
): void {
  for (const key of keys) {
    if (map === undefined || !isGiven(ownKey(map, key))) continue;
    reading.warn(reading.places.of(map, key), `${key} ${whose} has no effect`);
  }
}

function refuseForwarder(service: DocMap, reading: Reading): void {
  const forwarder = mapOf(service, "forwarder");
  if (forwarder === undefined) return;
  const targets = listOf(forwarder, "nodes");
  refuse(forwarder, FORWARDER_KEYS, reading, "of a forwarder");
  // Beside targets it is only a name.
  if (targets.length === 0) refuse(forwarder, ["name"], reading, "of a forwarder");
  for (const target of targets) refuse(target, TARGET_KEYS, reading, "of a target");
}

/** The objects that `user` names may not come from where we cannot read. */
function refuseSources(user: DocMap, document: DocMap, reading: Reading): void {
  for (const [key, section] of Object.entries(SOURCED)) {
    for (const name of textsOf(user, key)) {
      const object = listOf(document, section).find((one) => ownKey(one, "name") === name);
      refuse(object, SOURCE_KEYS, reading, `of ${section}`);
    }
  }
}

function isGiven(value: DocValue | undefined): boolean {
  if (value === undefined || value === null || value === "" || value === false) return false;
  if (isDocMap(value)) return Object.keys(value).length > 0;
  return !Array.isArray(value) || value.length > 0;
}

function refuse(
  map: DocMap | undefined,
  keys: readonly string[],
  reading: Reading,
  whose: string,
): void {
  for (const key of keys) {
    if (map === undefined || !isGiven(ownKey(map, key))) continue;
    const why = `${key} ${whose} is not supported; remove it`;
    reading.fault(configError(reading.places.of(map, key), why));
  }
}
