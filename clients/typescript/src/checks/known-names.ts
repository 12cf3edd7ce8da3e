// Members of options that nobody knows: most often a known one, misspelt.
import { InvalidOptionError } from "../errors/errors";

/** Letters between a misspelt name and the one that was meant, at most. */
const NEAR = 4;

/** Every member of some options by its name. */
export type KnownNames<Options> = Readonly<Record<keyof Required<Options>, true>>;

/** Letters to insert, remove or change until `a` is `b`. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      next.push(Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + change));
    }
    row = next;
  }
  return row[b.length];
}

function hintFor(name: string, known: string[], owner: string): string {
  // A long name is far from every other one.
  const lower = name.slice(0, 100).toLowerCase();
  const [nearest] = known
    .map((other) => ({ other, far: distance(lower, other.toLowerCase()) }))
    .sort((a, b) => a.far - b.far);
  return nearest.far <= NEAR
    ? `did you mean ${nearest.other}?`
    : `${owner} has ${known.join(", ")}`;
}

/**
 * Refuses members that are not known. One that is undefined counts as absent.
 * @param owner whose options they are, for the message: "a worker".
 * @param prefix of the members, where the options are a part of others: "shardRouting.".
 * @throws InvalidOptionError
 */
export function checkNames<Options extends object>(
  options: Options,
  known: KnownNames<Options>,
  owner: string,
  prefix = "",
): void {
  for (const [name, value] of Object.entries(options)) {
    if (value !== undefined && !Object.hasOwn(known, name)) {
      const hint = hintFor(name, Object.keys(known), owner);
      throw new InvalidOptionError(`${prefix}${name}`, `unknown option; ${hint}`);
    }
  }
}
