/**
 * The layers of the sources. A file may import files of lower layers and of its own folder. Between
 * folders of one layer of the host only types may be imported: an interface is no dependency.
 */

/** Longest matching prefix wins; a higher number may import a lower one. */
export const CORE_LAYERS: Readonly<Record<string, number>> = {
  "assembly/abi.ts": 0,
  "assembly/layout.ts": 1,
  "assembly/mem/": 2,
  "assembly/wire/": 3,
  "assembly/crypto/": 3,
  "assembly/flow/": 4,
  "assembly/ip/": 4,
  "assembly/sniff/": 4,
  "assembly/route/": 4,
  "assembly/tcp/": 5,
  "assembly/udp/": 5,
  "assembly/stack.ts": 6,
  "assembly/index.ts": 7,
  "assembly/probe.ts": 7,
};

export const HOST_LAYERS: Readonly<Record<string, number>> = {
  "assembly/abi.ts": 0,
  "src/errors.ts": 0,
  "src/log.ts": 0,
  "src/log-file.ts": 0,
  "src/types.ts": 0,
  "src/sys/": 1,
  "src/proto/": 1,
  "src/pcap/": 1,
  "src/match/": 1,
  // A table of names and bounds without behaviour, which config/ reads as core/ does.
  "src/core/options.ts": 1,
  // The model's types and pure look-ups of text, which whoever is configured reads.
  "src/config/model.ts": 1,
  "src/config/net.ts": 1,
  "src/config/metadata.ts": 1,
  "src/config/interfaces.ts": 1,
  "src/config/": 2,
  "src/core/": 2,
  "src/tun/": 2,
  "src/chain/": 2,
  "src/bypass/": 2,
  "src/serve/": 3,
  "src/tunnel/": 3,
  "src/dns/": 3,
  "src/replay/": 3,
  "src/masks.ts": 4,
  "src/registry.ts": 4,
  "src/start-service.ts": 4,
  "src/services.ts": 4,
  "src/app.ts": 4,
  "src/commands/": 5,
  "src/cli.ts": 6,
  "src/index.ts": 6,
  "src/stack.ts": 6,
};

/** Imports that the table would refuse, each with its reason: "from -> to". */
export const LAYER_EXCEPTIONS: Readonly<Record<string, string>> = {};

function place(layers: Readonly<Record<string, number>>, path: string): string | undefined {
  return Object.keys(layers)
    .filter((prefix) => path === prefix || (prefix.endsWith("/") && path.startsWith(prefix)))
    .sort((a, b) => b.length - a.length)[0];
}

/** What is wrong with an import, or undefined. */
export function layerFault(
  layers: Readonly<Record<string, number>>,
  from: string,
  to: string,
  typeOnly: boolean,
): string | undefined {
  const source = place(layers, from);
  const target = place(layers, to);
  if (source === undefined) return `${from} has no layer`;
  if (target === undefined) return `${from} imports ${to}, which has no layer`;
  if (`${from} -> ${to}` in LAYER_EXCEPTIONS) return undefined;
  const up = layers[target]! - layers[source]!;
  if (source === target || up < 0) return undefined;
  if (up === 0 && typeOnly && layers === HOST_LAYERS) return undefined;
  if (up === 0 && !source.endsWith("/") && !target.endsWith("/")) return undefined;
  return `${from} imports ${to}: ${up === 0 ? "the same layer" : "a higher layer"}`;
}
