/**
 * GOST's web API: the configuration and its objects can be read, changed, saved and read again.
 * Every change is made to the document and applied like a reload: it is checked first, services
 * that do not change are left alone, and what fails leaves everything as it was.
 *
 * Differences from GOST: bodies that are no JSON are refused (40001), secrets are masked unless
 * `?secrets=true` asks for them, and a configuration is saved only to the file it came from.
 */
import { writeFileSync } from "node:fs";
import { isDocMap, ownKey, Reading, type DocMap, type DocValue } from "../config/document.ts";
import { normalizeMap } from "../config/normalize.ts";
import { printDocument } from "../config/print.ts";
import { DOCUMENT_FIELDS } from "../config/schema.ts";
import { messageOf } from "../errors.ts";
import type { WebAnswer, WebRequest } from "./web.ts";

/** What the API may do with the running program. */
export interface ApiControl {
  /** What runs, in GOST's shape. */
  document(): DocMap;
  /** Checks and applies a document; rejects with a TsgostError and changes nothing if it fails. */
  apply(document: DocMap): Promise<void>;
  /** Reads all sources again, as SIGHUP does. */
  reload(): Promise<void>;
  /** The file that the configuration came from; "" if there is not exactly one. */
  readonly file: string;
  /** Of a service by name: state, events, counters. */
  status(service: string): DocMap | undefined;
}

const OBJECTS = (
  "services chains hops authers admissions bypasses resolvers hosts ingresses routers observers " +
  "recorders sds limiters climiters rlimiters loggers"
).split(" ");
const DOCS = "GET /config, GET|POST /config/OBJECT, GET|PUT|DELETE /config/OBJECT/NAME";

class ApiError extends Error {
  readonly status: number;
  readonly code: number;

  constructor(status: number, code: number, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class Api {
  readonly #control: ApiControl;
  readonly #prefix: string;

  constructor(control: ApiControl, pathPrefix: string) {
    this.#control = control;
    this.#prefix = pathPrefix.replace(/\/+$/, "");
  }

  async answer(request: WebRequest): Promise<WebAnswer> {
    try {
      return await this.#route(request);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return json(error.status, { code: error.code, msg: error.message });
    }
  }

  async #route({ method, path, query, body }: WebRequest): Promise<WebAnswer> {
    if (!path.startsWith(`${this.#prefix}/`)) return notFound();
    const words = path.slice(this.#prefix.length + 1).split("/");
    const [first = "", section = "", name = ""] = words.map(decode);
    if (first === "docs") return { status: 200, type: "text/plain; charset=utf-8", body: DOCS };
    if (first !== "config" || words.length > 3) return notFound();
    const route = `${method} ${words.length}`;
    if (section === "reload" && route === "POST 2") return this.#reload();
    if (words.length === 1 || (words.length === 2 && section === "")) {
      if (method === "GET") return this.#whole(query);
      return method === "POST" ? this.#save(query) : notFound();
    }
    if (!OBJECTS.includes(section)) return notFound();
    switch (route) {
      case "GET 2":
        return this.#list(section, query);
      case "POST 2":
        return this.#create(section, objectOf(section, body));
      case "GET 3":
        return this.#one(section, name, query);
      case "PUT 3":
        return this.#replace(section, name, objectOf(section, body));
      case "DELETE 3":
        return this.#remove(section, name);
      default:
        return notFound();
    }
  }

  /** The document as it is printed, with the state of each service. */
  #printed(query: URLSearchParams): DocMap {
    const showSecrets = query.get("secrets") === "true";
    const text = printDocument(this.#control.document(), { format: "json", showSecrets });
    const document = JSON.parse(text) as DocMap;
    for (const service of listOf(document, "services")) {
      const status = this.#control.status(nameOf(service));
      if (status !== undefined) service["status"] = status;
    }
    return document;
  }

  #whole(query: URLSearchParams): WebAnswer {
    if (query.get("format") !== "yaml") return json(200, this.#printed(query));
    const showSecrets = query.get("secrets") === "true";
    const body = printDocument(this.#control.document(), { format: "yaml", showSecrets });
    return { status: 200, type: "text/x-yaml", body };
  }

  #list(section: string, query: URLSearchParams): WebAnswer {
    const list = listOf(this.#printed(query), section);
    return json(200, { data: { count: list.length, list } });
  }

  #one(section: string, name: string, query: URLSearchParams): WebAnswer {
    const list = listOf(this.#printed(query), section);
    return json(200, { data: list.find((object) => nameOf(object) === name) ?? null });
  }

  async #create(section: string, object: DocMap): Promise<WebAnswer> {
    const name = nameOf(object);
    const list = listOf(this.#control.document(), section);
    if (list.some((other) => nameOf(other) === name)) {
      throw new ApiError(400, 40002, `${section}: ${name} exists already`);
    }
    return this.#change(section, [...list, object]);
  }

  async #replace(section: string, name: string, object: DocMap): Promise<WebAnswer> {
    const list = this.#having(section, name);
    const fresh = { ...object, name };
    return this.#change(
      section,
      list.map((other) => (nameOf(other) === name ? fresh : other)),
    );
  }

  async #remove(section: string, name: string): Promise<WebAnswer> {
    const list = this.#having(section, name);
    return this.#change(
      section,
      list.filter((other) => nameOf(other) !== name),
    );
  }

  /** The list, which must have an object of that name. */
  #having(section: string, name: string): DocMap[] {
    const list = listOf(this.#control.document(), section);
    if (list.some((object) => nameOf(object) === name)) return list;
    throw new ApiError(400, 40004, `${section}: there is no ${name}`);
  }

  async #change(section: string, list: DocMap[]): Promise<WebAnswer> {
    try {
      await this.#control.apply({ ...this.#control.document(), [section]: list });
    } catch (error) {
      throw new ApiError(section === "services" ? 500 : 409, 40003, messageOf(error));
    }
    return done();
  }

  async #reload(): Promise<WebAnswer> {
    try {
      await this.#control.reload();
    } catch (error) {
      throw new ApiError(500, 40003, messageOf(error));
    }
    return done();
  }

  #save(query: URLSearchParams): WebAnswer {
    const { file } = this.#control;
    const wanted = query.get("path") ?? "";
    if (file === "" || (wanted !== "" && wanted !== file)) {
      const why = file === "" ? "it came from no one file" : `it is saved to ${file} only`;
      throw new ApiError(500, 40005, `the configuration cannot be saved: ${why}`);
    }
    const format = file.endsWith(".json") ? "json" : "yaml";
    try {
      const text = printDocument(this.#control.document(), { format, showSecrets: true });
      writeFileSync(file, text, { mode: 0o600 });
    } catch (error) {
      throw new ApiError(500, 40005, messageOf(error));
    }
    return done();
  }
}

function nameOf(object: DocMap): string {
  const name = ownKey(object, "name");
  return typeof name === "string" ? name : "";
}

function json(status: number, value: unknown): WebAnswer {
  return { status, body: JSON.stringify(value) };
}

function done(): WebAnswer {
  return json(200, { msg: "OK" });
}

function notFound(): WebAnswer {
  return json(404, { code: 404, msg: "no such path or method" });
}

function decode(word: string): string {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

function listOf(document: DocMap, section: string): DocMap[] {
  const list = ownKey(document, section);
  return Array.isArray(list) ? list.filter(isDocMap) : [];
}

/** A body as an object of the section, durations as GOST writes them (nanoseconds). */
function objectOf(section: string, body: string): DocMap {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    throw new ApiError(400, 40001, `the body is no JSON: ${messageOf(error)}`);
  }
  const field = DOCUMENT_FIELDS[section];
  if (!isDocMap(value as DocValue) || field?.kind !== "list") {
    throw new ApiError(400, 40001, "the body is no object");
  }
  const object = value as DocMap;
  if (nameOf(object) === "") {
    throw new ApiError(400, 40001, `${section.replace(/e?s$/, "")} name is required`);
  }
  if (field.of.kind !== "object") return object;
  try {
    return normalizeMap(object, field.of.fields, new Reading({ compat: true }), `${section}.`);
  } catch (error) {
    throw new ApiError(400, 40001, messageOf(error));
  }
}
