/**
 * Time as the host told it: whole microseconds in an f64, exact to 2^53. It never goes backwards;
 * a call with an earlier (or senseless) time is a call at the present time.
 */

/** A deadline that never comes. At the boundary it is Infinity. */
export const NEVER: f64 = f64.MAX_VALUE;
const LATEST_US: f64 = 9007199254740991.0;

let currentUs: f64 = 0;

/** Takes the host's time. NaN, negative, infinite and past values change nothing. */
export function advance(nowUs: f64): void {
  if (nowUs > currentUs && nowUs <= LATEST_US) currentUs = Math.floor(nowUs);
}

/** The present time in microseconds. */
export function now(): f64 {
  return currentUs;
}
