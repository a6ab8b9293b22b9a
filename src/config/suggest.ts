/** "Did you mean …": the nearest known word, for the messages about unknown ones. */

/** Optimal string alignment: insertions, deletions, changes and swaps of neighbours cost one. */
export function editDistance(left: string, right: string): number {
  const width = right.length + 1;
  let before = new Array<number>(width).fill(0);
  let above = Array.from({ length: width }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const line = new Array<number>(width).fill(0);
    line[0] = row;
    for (let column = 1; column < width; column++) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min(
        (above[column] ?? 0) + 1,
        (line[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (row > 1 && column > 1 && swapped) cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      line[column] = cost;
    }
    before = above;
    above = line;
  }
  return above[right.length] ?? 0;
}

/** The known word nearest to `word` (case ignored), or undefined if none is near enough. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const lower = word.toLowerCase();
  // Hostile lengths would cost their square.
  if (lower.length === 0 || lower.length > 64) return undefined;
  const limit = Math.max(1, Math.floor(lower.length / 3));
  let best: string | undefined;
  let bestCost = limit + 1;
  for (const candidate of known) {
    if (Math.abs(candidate.length - lower.length) > limit) continue;
    const cost = editDistance(lower, candidate.toLowerCase());
    if (cost < bestCost) {
      best = candidate;
      bestCost = cost;
    }
  }
  return best;
}

/** `; did you mean X?`, or "" if nothing known is near. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const found = nearest(word, known);
  return found === undefined ? "" : `; did you mean ${found}?`;
}
