/** `tsgost relay`: the other end, a relay server over TCP, TLS or WebSocket, also multiplexed. */
import { compact } from "../config/builder.ts";
import type { DocMap } from "../config/document.ts";
import { documentOfCommand } from "../config/load.ts";
import type { CommandService } from "../config/load.ts";
import { parseHostPort } from "../config/net.ts";
import { EXIT_OK, usageError } from "../errors.ts";
import { COMMON_OPTIONS, loadFlags, parseOptions, startLoaded } from "./common.ts";
import type { CommandSpec, CommandValues } from "./common.ts";
import { commandHelp } from "./help.ts";
import { printOut } from "./version.ts";

const TRANSPORTS = ["tcp", "tls", "ws", "wss", "mtls", "mws", "mwss"];

export const SPEC: CommandSpec = {
  name: "relay",
  summary: "Serve the relay protocol: the other end of tsgost tungo and of GOST's clients.",
  usage: "tsgost relay [--listen ADDRESS] [--auth-file PATH] [options]",
  text: ["Without a certificate one is generated, as GOST does; clients then cannot verify it."],
  options: [
    { name: "listen", value: "[HOST]:PORT", help: "where to listen (default :443)" },
    {
      name: "transport",
      value: "WORD",
      help: "tcp, tls, ws, wss (default), or with smux mtls, mws, mwss",
    },
    { name: "auth", value: "USER:PASSWORD", help: "who may use it; others can see argv" },
    { name: "auth-file", value: "PATH", help: 'who may use it: first line "user password"' },
    {
      name: "auth-env",
      value: "NAME",
      help: "who may use it: the variable TSGOST_AUTH_NAME holds user:password",
    },
    { name: "cert", value: "PATH", help: "certificate chain (PEM)" },
    { name: "key", value: "PATH", help: "key of the certificate (PEM)" },
    { name: "path", value: "PATH", help: "path of ws, wss, mws and mwss (default /ws)" },
    { name: "nodelay", help: "GOST's nodelay=true; requests are answered at once in any case" },
    { name: "read-timeout", value: "DURATION", help: "limit for the request (default 15s)" },
    { name: "interface", value: "NAME", help: "device by which what is relayed leaves" },
    { name: "so-mark", value: "N", help: "mark of the same sockets" },
    { name: "F", short: "F", value: "URL", repeat: true, help: "a hop to relay through" },
    ...COMMON_OPTIONS,
  ],
  examples: [
    "TSGOST_AUTH_ME=alice:secret tsgost relay --listen :443 --auth-env me",
    "tsgost relay --cert fullchain.pem --key privkey.pem --auth-file /etc/tsgost/auth",
    "tsgost relay --transport tcp --listen 127.0.0.1:8421",
  ],
};

function authOf(values: CommandValues): DocMap | undefined {
  const given = ["auth", "auth-file", "auth-env"].filter((name) => values.has(name));
  if (given.length > 1) throw usageError(`--${given.join(" and --")}: give one of them`);
  const text = values.text("auth");
  const colon = text.indexOf(":");
  if (text !== "" && colon < 0) throw usageError("--auth is not USER:PASSWORD");
  if (text !== "") return { username: text.slice(0, colon), password: text.slice(colon + 1) };
  const auth = compact({ file: values.text("auth-file"), env: values.text("auth-env") });
  return Object.keys(auth).length === 0 ? undefined : auth;
}

function serviceOf(values: CommandValues): CommandService {
  const transport = values.text("transport") || "wss";
  if (!TRANSPORTS.includes(transport)) {
    throw usageError(`--transport ${JSON.stringify(transport)} is not ${TRANSPORTS.join(", ")}`);
  }
  const addr = values.text("listen") || ":443";
  if (parseHostPort(addr) === undefined) {
    throw usageError(`--listen ${JSON.stringify(addr)} is not [HOST]:PORT (port 0 to 65535)`);
  }
  const metadata = compact({
    interface: values.text("interface"),
    so_mark: values.text("so-mark"),
  });
  const nodelay = values.has("nodelay") ? "true" : "";
  return {
    addr,
    handler: compact({
      type: "relay",
      auth: authOf(values),
      metadata: compact({ nodelay, readTimeout: values.text("read-timeout") }),
    }),
    listener: compact({
      type: transport,
      tls: compact({ certFile: values.text("cert"), keyFile: values.text("key") }),
      metadata: compact({ path: values.text("path") }),
    }),
    metadata,
    nodes: values.list("F"),
    firstHop: { ...metadata },
  };
}

export async function run(argv: readonly string[]): Promise<number> {
  const values = parseOptions(SPEC, argv);
  if (values.has("help")) {
    printOut(commandHelp(SPEC));
    return EXIT_OK;
  }
  const loaded = documentOfCommand(serviceOf(values), loadFlags(values), process.env);
  return startLoaded(loaded, { dryRun: values.has("dry-run"), strict: values.has("strict") });
}
