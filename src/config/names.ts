/**
 * Names of objects and references to them: no name is given twice, and what refers to one finds it.
 * GOST takes a missing chain for "direct", a missing auther for "everybody", a missing bypass for
 * "nothing"; here all of these are errors with their place.
 */
import { configError } from "../errors.ts";
import { isDocMap } from "./document.ts";
import type { DocMap, DocValue, Reading } from "./document.ts";
import { listOf, textOf, textsOf } from "./fields.ts";
import type { Place } from "./model.ts";
import { didYouMean } from "./suggest.ts";

/** Keys that name objects, and the sections those are in. */
const REFERENCES: Readonly<Record<string, string>> = {
  admission: "admissions",
  admissions: "admissions",
  auther: "authers",
  authers: "authers",
  bypass: "bypasses",
  bypasses: "bypasses",
  chain: "chains",
  climiter: "climiters",
  hosts: "hosts",
  limiter: "limiters",
  logger: "loggers",
  loggers: "loggers",
  observer: "observers",
  resolver: "resolvers",
  rlimiter: "rlimiters",
};

const SECTIONS = [
  ...new Set(Object.values(REFERENCES)),
  ...["services", "hops", "routers", "ingresses", "sds", "recorders"],
];

export class Names {
  readonly #reading: Reading;
  readonly #sections = new Map<string, ReadonlySet<string>>();

  constructor(document: DocMap, reading: Reading) {
    this.#reading = reading;
    for (const section of SECTIONS) this.#sections.set(section, this.#unique(document, section));
  }

  /** A missing or repeated name is an error. */
  #unique(document: DocMap, section: string): Set<string> {
    const names = new Set<string>();
    for (const map of listOf(document, section)) {
      const name = textOf(map, "name");
      const place = this.#reading.places.of(map, "name");
      if (name === "") {
        this.#reading.fault(configError(place, `an object of ${section} has no name`));
      } else if (names.has(name)) {
        const why = `${section}: the name ${JSON.stringify(name)} is taken already`;
        this.#reading.fault(configError(place, why));
      }
      names.add(name);
    }
    return names;
  }

  /** Every object that `map` refers to by a key of its own must exist. */
  check(map: DocMap): void {
    for (const [key, section] of Object.entries(REFERENCES)) {
      for (const name of textsOf(map, key)) {
        this.require(section, name, key, this.#reading.places.of(map, key));
      }
    }
  }

  require(section: string, name: string, key: string, place: Place): void {
    const known = this.#sections.get(section) ?? new Set<string>();
    if (known.has(name)) return;
    const what = `${key}: there is no ${JSON.stringify(name)} in ${section}`;
    this.#reading.fault(configError(place, `${what}${didYouMean(name, known)}`));
  }

  /** The recorders of a service: maps with a name. */
  checkRecorders(map: DocMap, value: DocValue | undefined): void {
    for (const recorder of Array.isArray(value) ? value.filter(isDocMap) : []) {
      const name = textOf(recorder, "name");
      const place = this.#reading.places.of(recorder) || this.#reading.places.of(map, "recorders");
      if (name !== "") this.require("recorders", name, "recorders", place);
    }
  }
}
