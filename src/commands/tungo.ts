/** `tsgost tungo`: a TUN device served by the stack, options instead of a URL. */
import * as abi from "../../assembly/abi.ts";
import type { DocMap } from "../config/document.ts";
import { documentOfCommand } from "../config/load.ts";
import { kebabCase } from "../config/metadata.ts";
import { formatDuration } from "../config/net.ts";
import { CORE_OPTIONS } from "../core/options.ts";
import type { CoreOption } from "../core/options.ts";
import { EXIT_OK } from "../errors.ts";
import { COMMON_OPTIONS, loadFlags, parseOptions, startLoaded } from "./common.ts";
import type { CommandSpec, CommandValues, OptionSpec } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

interface DeviceOption extends OptionSpec {
  /** Key of the metadata. */
  readonly key: string;
  /** Belongs to the service's own metadata. */
  readonly service?: boolean;
  /** Commas are part of a value. */
  readonly whole?: boolean;
}

function hookOptions(): DeviceOption[] {
  const option = (name: string, key: string, when: string): DeviceOption => ({
    name,
    key,
    value: "COMMAND",
    repeat: true,
    service: true,
    whole: true,
    help: `run ${when}, without a shell; TSGOST_DEVICE and others tell it where`,
    group: "Hooks",
  });
  return [
    option("pre-up", "preUp", "once the device exists"),
    option("post-up", "postUp", "when all services stand, and again when a lost device is back"),
    option("pre-down", "preDown", "at the end, while the device still exists"),
    option("post-down", "postDown", "after pre-down"),
  ];
}

/** Repeatable ones take comma lists too. */
const DEVICE_OPTIONS: readonly DeviceOption[] = [
  {
    name: "name",
    key: "name",
    value: "NAME",
    help: "name of the device, at most 15 bytes (default tungo)",
  },
  {
    name: "net",
    key: "net",
    value: "CIDR",
    repeat: true,
    help: "address and network of the device, IPv4 or IPv6; without it addresses are yours to set",
  },
  {
    name: "route",
    key: "route",
    value: '"CIDR[ GW]"',
    repeat: true,
    help: "route into the device; default = both halves of IPv4 and of IPv6",
  },
  {
    name: "exclude",
    key: "exclude",
    value: "CIDR",
    repeat: true,
    help: "network that stays outside of the routes",
  },
  { name: "gw", key: "gw", value: "IP", help: "gateway of routes that name none" },
  { name: "dns", key: "dns", value: "IP", repeat: true, help: "name server to set for the device" },
  {
    name: "interface",
    key: "interface",
    value: "NAME",
    service: true,
    help: "device by which the first hop, and what goes direct, leaves (so never into the TUN)",
  },
  { name: "so-mark", key: "so_mark", value: "N", service: true, help: "mark of the same sockets" },
  {
    name: "dial-timeout",
    key: "dialTimeout",
    value: "DURATION",
    service: true,
    help: "limit of one attempt to connect (default 15s)",
  },
  {
    name: "vnet",
    key: "vnet",
    value: "on|off",
    help: "virtio headers and offloads of the device (default on)",
  },
  { name: "tun-fd", key: "tunFd", value: "N", help: "take this open descriptor as the device" },
  { name: "workers", key: "workers", value: "N", help: "more than 1 is not possible yet" },
  ...hookOptions(),
  { name: "pcap", key: "pcap", value: "FILE", help: "write what passes the device as pcapng" },
];

const VALUE_NAMES: Readonly<Record<CoreOption["kind"], string>> = {
  count: "N",
  bytes: "BYTES",
  ms: "DURATION",
  bool: "BOOL",
  connect: "faithful|immediate",
  echo: "auto|host|local|drop",
  congestion: "cubic|newreno",
};

function defaultText(option: CoreOption): string {
  switch (option.kind) {
    case "ms":
      return formatDuration(option.default)
        .replace(/(?<=[hm])0s$/, "")
        .replace(/(?<=h)0m$/, "");
    case "bytes":
      return bytesText(option.default);
    case "bool":
      return option.default === 0 ? "false" : "true";
    case "connect":
      return option.default === abi.CONNECT_FAITHFUL ? "faithful" : "immediate";
    case "congestion":
      return option.default === abi.CONGESTION_CUBIC ? "cubic" : "newreno";
    case "echo":
      return "auto";
    case "count":
      return String(option.default);
  }
}

function bytesText(bytes: number): string {
  if (bytes >= 1024 ** 2 && bytes % 1024 ** 2 === 0) return `${bytes / 1024 ** 2}MiB`;
  return bytes >= 65536 && bytes % 1024 === 0 ? `${bytes / 1024}KiB` : String(bytes);
}

/** The core's options that are asked for most stand among the first. */
const FIRST = ["mtu", "connect", "echo", "pendingTimeout", "udpTimeout", "timeWait"];

function coreOptionSpec(option: CoreOption): OptionSpec {
  return {
    name: kebabCase(option.key),
    value: VALUE_NAMES[option.kind],
    help: `${option.help} (default ${defaultText(option)})`,
    ...(FIRST.includes(option.key) ? {} : { group: "Stack" }),
  };
}

const FORWARD: OptionSpec = {
  name: "F",
  short: "F",
  value: "URL",
  repeat: true,
  help: "a hop of the chain, as GOST writes it; none = everything goes direct",
};

export const SPEC: CommandSpec = {
  name: "tungo",
  summary: "Serve a TUN device: its TCP and UDP flows go through a chain of servers, or direct.",
  usage: "tsgost tungo [--net CIDR]… [--route CIDR]… [-F URL]… [options]",
  text: [
    "Needs root or CAP_NET_ADMIN. Every option has its URL and YAML key in camelCase.",
    "Durations are like 30s, 1m30s, 500ms, or seconds without a unit.",
  ],
  options: [FORWARD, ...DEVICE_OPTIONS, ...CORE_OPTIONS.map(coreOptionSpec), ...COMMON_OPTIONS],
  examples: [
    "tsgost tungo --net 192.168.123.1/24 --route default --interface eth0 \\",
    "             -F relay+wss://USER:PASSWORD@SERVER:443",
    "tsgost tungo --net 192.168.123.1/24 --net fd00::1/64 --route 10.0.0.0/8 --dry-run",
    'tsgost tungo --net 10.9.0.1/24 -F "relay+wss://SERVER:443?authFile=/etc/tsgost/auth"',
  ],
};

interface Parts {
  readonly listener: DocMap;
  readonly service: DocMap;
}

function metadataOf(values: CommandValues): Parts {
  const listener: DocMap = {};
  const service: DocMap = {};
  for (const option of DEVICE_OPTIONS) {
    if (!values.has(option.name)) continue;
    const part = option.service === true ? service : listener;
    part[option.key] =
      option.repeat === true
        ? values.list(option.name).flatMap((text) => (option.whole ? [text] : text.split(",")))
        : values.text(option.name);
  }
  for (const option of CORE_OPTIONS) {
    const name = kebabCase(option.key);
    if (values.has(name)) listener[option.key] = values.text(name);
  }
  return { listener, service };
}

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  const { listener, service } = metadataOf(values);
  const firstHop: DocMap = {};
  for (const key of ["interface", "so_mark"]) {
    if (service[key] !== undefined) firstHop[key] = service[key];
  }
  const loaded = documentOfCommand(
    {
      addr: ":0",
      handler: { type: "tungo" },
      listener: { type: "tungo", metadata: listener },
      metadata: service,
      nodes: values.list("F"),
      firstHop,
    },
    loadFlags(values),
    process.env,
  );
  return startLoaded(loaded, { dryRun: values.has("dry-run"), strict: values.has("strict") });
}
