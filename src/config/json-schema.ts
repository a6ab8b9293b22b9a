/**
 * The JSON Schema (draft 2020-12) of configuration files, for editors: made from schema.ts, which
 * files are read by, and from the tables of metadata keys. It is a little stricter than the reader
 * (keys only in their usual spelling) and knows no references between objects.
 */
import { GOST_SERVICE_KEYS } from "./gost-keys.ts";
import { type Known, connectorKeys, dialerKeys, handlerKeys, listenerKeys } from "./key-check.ts";
import { keyInfo } from "./key-kinds.ts";
import type { KeyKind } from "./key-kinds.ts";
import { HOP_KEYS, NODE_KEYS, SERVICE_KEYS } from "./keys.ts";
import { DOCUMENT_FIELDS } from "./schema.ts";
import type { Field, Fields } from "./schema.ts";
import {
  CONNECTOR_WORDS,
  DIALER_WORDS,
  HANDLER_WORDS,
  LISTENER_WORDS,
  STRATEGY_WORDS,
  STRATEGY_WORDS_GOST,
} from "./words.ts";

type Schema = Record<string, unknown>;

const DURATION = "a duration such as 30s, 1m30s or 500ms; a bare number is seconds";
const PATTERN = "^[+-]?(\\d+\\.?\\d*|(\\d*\\.?\\d+(ns|us|\u00b5s|ms|s|m|h))+)$";
const BOOL = "^(1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$";
const SCALAR = ["string", "number", "boolean"];

const METADATA_KINDS: Readonly<Record<KeyKind, Schema>> = {
  bool: { type: ["boolean", "string", "number"] },
  int: { type: ["integer", "string"] },
  bytes: { type: ["integer", "string"], description: "bytes, such as 4096, 256KiB or 8M" },
  duration: { type: ["string", "number"], description: DURATION },
  text: { type: SCALAR },
  list: { type: ["array", "string", "number"] },
  map: { type: ["object", "string"] },
  address: { type: "string", description: "an IP address" },
  addresses: { type: ["array", "string"], description: "IP addresses" },
  networks: { type: ["array", "string"], description: "networks, ADDRESS/PREFIX each" },
};

/** Parts whose `type` says which metadata they take. */
interface Part {
  readonly words: ReadonlySet<string>;
  readonly keysOf: (type: string) => Known | undefined;
}

const PARTS: Readonly<Record<string, Part>> = {
  handler: { words: HANDLER_WORDS, keysOf: handlerKeys },
  listener: { words: LISTENER_WORDS, keysOf: listenerKeys },
  connector: { words: CONNECTOR_WORDS, keysOf: connectorKeys },
  dialer: { words: DIALER_WORDS, keysOf: dialerKeys },
};

/** Objects whose metadata has one table. */
const OWNERS: Readonly<Record<string, Known>> = {
  services: { keys: SERVICE_KEYS, idle: GOST_SERVICE_KEYS },
  hops: { keys: HOP_KEYS, idle: [] },
  nodes: { keys: NODE_KEYS, idle: [] },
};
const NO_KEYS: Known = { keys: [], idle: [] };

const WORDS: Readonly<Record<string, readonly string[]>> = {
  strategy: [...STRATEGY_WORDS, ...STRATEGY_WORDS_GOST],
  level: ["trace", "debug", "info", "warn", "warning", "error", "fatal"],
  format: ["json", "text"],
};

const HELP: Readonly<Record<string, string>> = {
  services: "what is listened on, and what is done with it",
  chains: "ways to a destination: hops in order of travel",
  hops: "hops that chains name instead of having them inside",
  authers: "lists of users",
  bypasses: "destinations that do not go through a hop, or are refused by a service",
  admissions: "clients that a service admits or refuses",
  resolvers: "name servers",
  hosts: "names with addresses of their own",
  routers: "routes of tunnels",
  loggers: "logs that services name",
  limiters: "read and printed, not supported",
  climiters: "read and printed, not supported",
  rlimiters: "read and printed, not supported",
  tls: "certificate and TLS settings",
  log: "the program's own log",
  api: "the HTTP API",
  metrics: "Prometheus metrics",
  addr: "HOST:PORT",
  name: "name, for references and logs",
  type: "which protocol",
  retries: "further attempts when one fails",
  matchers: "CIDRs, addresses, names, .suffixes and wildcards, each with :PORT if need be",
  whitelist: "everything matches but what the rules say",
  reload: "read files and URLs again after so long",
  pin: "sha256/BASE64 of the server's public key",
  secure: "verify the server's certificate",
};

export function jsonSchema(): Schema {
  const shapes = new Shapes();
  const root = shapes.body(DOCUMENT_FIELDS, "document");
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "tsgost",
    description: "Configuration of tsgost, as GOST v3 has it",
    ...root,
    $defs: shapes.definitions,
  };
}

/** Each shape of an object is written once and referred to. */
class Shapes {
  readonly definitions: Schema = {};
  readonly #names = new Map<Fields, Map<string, string>>();

  reference(fields: Fields, name: string): Schema {
    const ofFields = this.#names.get(fields) ?? new Map<string, string>();
    this.#names.set(fields, ofFields);
    // Only these look different by where they are.
    const role = Object.hasOwn(PARTS, name) || Object.hasOwn(OWNERS, name) ? name : "";
    let definition = ofFields.get(role);
    if (definition === undefined) {
      definition = this.#free(name);
      ofFields.set(role, definition);
      this.definitions[definition] = {};
      this.definitions[definition] = this.body(fields, name);
    }
    return { $ref: `#/$defs/${definition}` };
  }

  #free(name: string): string {
    let definition = name;
    for (let index = 2; Object.hasOwn(this.definitions, definition); index++) {
      definition = `${name}${index}`;
    }
    return definition;
  }

  body(fields: Fields, name: string): Schema {
    const properties: Schema = {};
    for (const [key, field] of Object.entries(fields)) {
      const owner = key === "metadata" ? name : key;
      const help = Object.hasOwn(HELP, key) ? { description: HELP[key] } : {};
      properties[key] = { ...this.#field(field, owner), ...help };
    }
    const part = Object.hasOwn(PARTS, name) ? PARTS[name] : undefined;
    return {
      type: "object",
      properties: part === undefined ? properties : { ...properties, type: typeSchema(part) },
      additionalProperties: false,
      ...(part === undefined ? {} : { allOf: conditions(part) }),
    };
  }

  #field(field: Field, name: string): Schema {
    if (field.kind === "object") {
      const reference = this.reference(field.fields, name);
      return field.short === undefined ? reference : { anyOf: [reference, { type: "string" }] };
    }
    if (field.kind !== "list") return scalarSchema(field, name);
    const items = this.#field(field.of, name);
    return { anyOf: [{ type: "array", items }, items] };
  }
}

function typeSchema(part: Part): Schema {
  return { enum: Array.from(part.words).sort(), description: HELP["type"] };
}

/** What the metadata of each type are; other keys are allowed. */
function conditions(part: Part): Schema[] {
  return Array.from(part.words).flatMap((type) => {
    const keys = part.keysOf(type);
    if (keys === undefined) return [];
    return [
      {
        if: { properties: { type: { const: type } }, required: ["type"] },
        then: { properties: { metadata: metadataSchema(keys, type === "tungo") } },
      },
    ];
  });
}

function metadataSchema({ keys, idle }: Known, core: boolean): Schema {
  const properties: Schema = {};
  for (const key of idle) {
    const info = keyInfo(key, core);
    const kind = info === undefined ? {} : METADATA_KINDS[info.kind];
    properties[key] = { ...kind, description: "of GOST's, without effect here", deprecated: true };
  }
  for (const key of new Set(keys)) {
    const info = keyInfo(key, core);
    if (info === undefined) {
      properties[key] = {};
      continue;
    }
    const base = METADATA_KINDS[info.kind];
    const kind = typeof base["description"] === "string" ? ` (${base["description"]})` : "";
    properties[key] = { ...base, description: `${info.help}${kind}` };
  }
  return { type: "object", properties };
}

function scalarSchema(field: Field, name: string): Schema {
  switch (field.kind) {
    case "metadata":
      return metadataSchema((Object.hasOwn(OWNERS, name) && OWNERS[name]) || NO_KEYS, false);
    case "string":
      return Object.hasOwn(WORDS, name) ? { enum: WORDS[name] } : { type: SCALAR };
    case "int":
      return { type: ["integer", "string"], pattern: "^[+-]?\\d+$" };
    case "bool":
      return { type: ["boolean", "number", "string"], pattern: BOOL };
    case "duration":
      return { type: ["number", "string"], pattern: PATTERN, description: DURATION };
    default:
      return {};
  }
}
