/**
 * The untyped form between sources and model: GOST's config file as plain values, with the place
 * each object and key came from beside it. Files, inline JSON and the command line all become one
 * of these; validate.ts makes the typed model of it, print.ts writes it for -O.
 */
import { TsgostError, configError } from "../errors.ts";
import type { Place } from "./model.ts";

export type DocValue = string | number | boolean | null | DocValue[] | DocMap;

export interface DocMap {
  [key: string]: DocValue;
}

export function isDocMap(value: DocValue | undefined): value is DocMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Sets a key as data, whatever it is called (`__proto__` included). */
export function setKey(map: DocMap, key: string, value: DocValue): void {
  Object.defineProperty(map, key, { value, enumerable: true, writable: true, configurable: true });
}

/** `map[key]` if it is the map's own. */
export function ownKey(map: DocMap, key: string): DocValue | undefined {
  return Object.hasOwn(map, key) ? map[key] : undefined;
}

/** Where objects and their keys were written. */
export class Places {
  readonly #objects = new WeakMap<object, Place>();
  readonly #keys = new WeakMap<object, Map<string, Place>>();

  set(object: object, place: Place): void {
    this.#objects.set(object, place);
  }

  setKey(object: object, key: string, place: Place): void {
    const keys = this.#keys.get(object) ?? new Map<string, Place>();
    keys.set(key, place);
    this.#keys.set(object, keys);
  }

  /** Of the key where it is known, else of the object, else "". */
  of(object: object, key?: string): Place {
    const ofKey = key === undefined ? undefined : this.#keys.get(object)?.get(key);
    return ofKey ?? this.#objects.get(object) ?? "";
  }

  /** Gives the places of one object (and its keys) to another. */
  copy(from: object, to: object): void {
    const place = this.#objects.get(from);
    if (place !== undefined) this.#objects.set(to, place);
    const keys = this.#keys.get(from);
    if (keys !== undefined) this.#keys.set(to, new Map(keys));
  }
}

export interface Warning {
  readonly place: Place;
  readonly message: string;
}

const WARNINGS_MAX = 200;
const ERRORS_MAX = 100;

export interface ReadingOptions {
  readonly strict?: boolean;
  readonly compat?: boolean;
  readonly collect?: boolean;
  readonly showSecrets?: boolean;
}

/** How a configuration is read, and what was noticed meanwhile. */
export class Reading {
  readonly places = new Places();
  readonly warnings: Warning[] = [];
  /** Only with `collect`. */
  readonly errors: TsgostError[] = [];
  /** Warnings become errors. */
  readonly strict: boolean;
  /** Answer as GOST does, also where that is unwise. */
  readonly compat: boolean;
  /** Note errors and go on, instead of ending at the first. */
  readonly collect: boolean;
  /** GOST's messages may have passwords in them; with `compat` only. */
  readonly showSecrets: boolean;

  constructor(options: ReadingOptions = {}) {
    this.strict = options.strict ?? false;
    this.compat = options.compat ?? false;
    this.collect = options.collect ?? false;
    this.showSecrets = options.showSecrets ?? false;
  }

  warn(place: Place, message: string): void {
    if (this.compat) return;
    if (this.strict) return this.fault(configError(place, message));
    if (this.warnings.some((old) => old.place === place && old.message === message)) return;
    if (this.warnings.length < WARNINGS_MAX) this.warnings.push({ place, message });
  }

  /** Something that GOST lets pass is wrong: throws, or notes it; with `compat` it is nothing. */
  fault(error: TsgostError): void {
    if (!this.compat) this.#note(error);
  }

  /** What `body` answers; undefined where it threw and errors are collected. */
  attempt<T>(body: () => T): T | undefined {
    try {
      return body();
    } catch (error) {
      if (!this.collect || !(error instanceof TsgostError)) throw error;
      this.#note(error);
      return undefined;
    }
  }

  #note(error: TsgostError): void {
    if (!this.collect) throw error;
    if (this.errors.some(({ message }) => message === error.message)) return;
    if (this.errors.length < ERRORS_MAX) this.errors.push(error);
  }
}
