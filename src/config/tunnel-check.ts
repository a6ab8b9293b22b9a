/**
 * The device keys of tun and tap services: addresses, routes and name servers are such, and the
 * router that is named exists. (Those of tungo are read, with bounds, by tungo.ts.)
 */
import { MetadataReader, findMeta } from "./metadata.ts";
import type { ServiceConfig } from "./model.ts";
import type { Scope } from "./parts.ts";
import { DEVICE_KEYS, readAddresses, readGateway, readNets, readRoutes } from "./tungo-nets.ts";

const TUNNELS = new Set(["tun", "tap"]);

export function checkTunnel(service: ServiceConfig, scope: Scope): void {
  const { listener, place } = service;
  if (!TUNNELS.has(listener.type)) return;
  const { reading, names } = scope;
  const { metadata } = listener;
  const placeOf = (key: string): string => reading.places.of(metadata, key) || place;
  const reader = new MetadataReader(metadata, place, (key) => {
    const found = findMeta(metadata, key)?.key ?? findMeta(metadata, `tun.${key}`)?.key;
    return placeOf(found ?? key);
  });
  const warnings: string[] = [];
  reading.attempt(() => {
    const nets = readNets(reader, place);
    const gw = readGateway(reader, nets, warnings);
    readRoutes(reader, gw);
  });
  reading.attempt(() => readAddresses(reader, DEVICE_KEYS.dns));
  for (const warning of warnings) reading.warn(placeOf("gw"), warning);
  const router = findMeta(metadata, ["router", "tun.router"]);
  if (router === undefined || typeof router.value !== "string" || router.value === "") return;
  names.require("routers", router.value, router.key, placeOf(router.key));
}
