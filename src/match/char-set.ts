/** Sets of characters of regular expressions: one flag for each of ASCII, one for all others. */

const ASCII = 128;

type Range = readonly [first: number, last: number];

export class CharSet {
  readonly #has: Uint8Array;

  /** 129 flags. */
  private constructor(has: Uint8Array) {
    this.#has = has;
  }

  static of(ranges: readonly Range[]): CharSet {
    const has = new Uint8Array(ASCII + 1);
    for (const [first, last] of ranges) has.fill(1, first, last + 1);
    return new CharSet(has);
  }

  static all(): CharSet {
    return CharSet.of([]).negated();
  }

  has(code: number): boolean {
    return this.#has[Math.min(code, ASCII)] === 1;
  }

  negated(): CharSet {
    return new CharSet(this.#has.map((flag) => 1 - flag));
  }

  or(other: CharSet): CharSet {
    return new CharSet(this.#has.map((flag, code) => (flag === 1 || other.has(code) ? 1 : 0)));
  }

  /** With the other case of each letter, if that is asked for. */
  folded(isAsked: boolean): CharSet {
    if (!isAsked) return this;
    const other = (code: number): number =>
      /[A-Za-z]/.test(String.fromCharCode(code)) ? code ^ 32 : code;
    return new CharSet(
      this.#has.map((flag, code) => (flag === 1 || this.has(other(code)) ? 1 : 0)),
    );
  }

  /** The character, if it is but one. */
  get single(): readonly number[] {
    const codes = Array.from(this.#has.keys()).filter((code) => this.has(code));
    return codes.length === 1 ? codes : [];
  }
}

const codes = (first: string, last = first): Range => [first.charCodeAt(0), last.charCodeAt(0)];
const DIGITS = codes("0", "9");
const LOWER = codes("a", "z");
const UPPER = codes("A", "Z");
const WORD = CharSet.of([DIGITS, LOWER, UPPER, codes("_")]);
const DIGIT = CharSet.of([DIGITS]);
/** Perl's blanks have no vertical tab in Go. */
const BLANK = CharSet.of([codes("\t", "\n"), codes("\f", "\r"), codes(" ")]);

/** Classes behind a backslash. */
export const PERL: Readonly<Record<string, CharSet>> = {
  d: DIGIT,
  D: DIGIT.negated(),
  w: WORD,
  W: WORD.negated(),
  s: BLANK,
  S: BLANK.negated(),
};

/** Classes such as [:alpha:]. */
export const POSIX: Readonly<Record<string, CharSet>> = {
  alnum: CharSet.of([DIGITS, LOWER, UPPER]),
  alpha: CharSet.of([LOWER, UPPER]),
  ascii: CharSet.of([[0, 127]]),
  blank: CharSet.of([codes("\t"), codes(" ")]),
  cntrl: CharSet.of([
    [0, 31],
    [127, 127],
  ]),
  digit: DIGIT,
  graph: CharSet.of([codes("!", "~")]),
  lower: CharSet.of([LOWER]),
  print: CharSet.of([codes(" ", "~")]),
  punct: CharSet.of([codes("!", "/"), codes(":", "@"), codes("[", "`"), codes("{", "~")]),
  space: CharSet.of([codes("\t", "\r"), codes(" ")]),
  upper: CharSet.of([UPPER]),
  word: WORD,
  xdigit: CharSet.of([DIGITS, codes("a", "f"), codes("A", "F")]),
};

/** Is it a character of words, for \b? */
export function isWord(code: number | undefined): boolean {
  return code !== undefined && WORD.has(code);
}
