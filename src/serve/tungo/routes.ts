/**
 * Which prefixes lead into the device: the routes asked for, less what is excluded. Exclusion works
 * by splitting, so excluded addresses keep whatever route the system has, and nothing of the
 * system's own is touched.
 */
import { covers, formatCidr, overlaps, type Cidr } from "../../config/net.ts";
import type { Route } from "../../config/tungo-nets.ts";
import { configError } from "../../errors.ts";

/** Routes that a set of exclusions may be split into. */
const ROUTES_MAX = 4096;

/** The two halves of a prefix that is not a single address. */
function halves(cidr: Cidr): readonly [Cidr, Cidr] {
  const prefix = cidr.prefix + 1;
  const upper = cidr.bytes.slice();
  const at = cidr.prefix >> 3;
  upper[at] = (upper[at] ?? 0) | (0x80 >> (cidr.prefix & 7));
  return [
    { family: cidr.family, bytes: cidr.bytes, prefix },
    { family: cidr.family, bytes: upper, prefix },
  ];
}

function without(cidr: Cidr, exclude: Cidr, out: Cidr[]): void {
  if (!overlaps(cidr, exclude)) {
    out.push(cidr);
    return;
  }
  if (covers(exclude, cidr)) return;
  for (const half of halves(cidr)) without(half, exclude, out);
}

/** `routes` with every address of `excludes` taken out. */
export function routesWithout(routes: readonly Route[], excludes: readonly Cidr[]): Route[] {
  let left = [...routes];
  for (const exclude of excludes) {
    left = left.flatMap((route) => {
      const parts: Cidr[] = [];
      without(route.dst, exclude, parts);
      return parts.map((dst) => ({ ...route, dst }));
    });
    if (left.length > ROUTES_MAX) {
      throw configError(
        "exclude",
        `${formatCidr(exclude)} and those before split the routes into more than ${ROUTES_MAX}`,
      );
    }
  }
  return left;
}
