// What a score means, from the scores of the pairs that a calibration was made with. Only arithmetic.

const MOST_BINS = 48;

/** How many of the counts lie at or above a score; within a bin they are taken as evenly spread. */
export function countAbove(edges, counts, score) {
  let sum = 0;
  counts.forEach((count, bin) => {
    const [low, high] = [edges[bin], edges[bin + 1]];
    if (score <= low) sum += count;
    else if (score < high) sum += (count * (high - score)) / (high - low);
  });
  return sum;
}

export function total(counts) {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Share of counts at or above a score. */
export function shareAbove(edges, counts, score) {
  return countAbove(edges, counts, score) / total(counts);
}

/** Join neighbouring bins until there are few enough to be seen, and leave out empty ends. */
export function coarser({ edges, targets, non_targets: nonTargets }) {
  const held = targets.map((count, bin) => count + nonTargets[bin] > 0);
  const first = Math.max(0, held.indexOf(true));
  const last = Math.max(first, held.lastIndexOf(true));
  const step = Math.max(1, Math.ceil((last - first + 1) / MOST_BINS));
  const joined = { edges: [edges[first]], targets: [], nonTargets: [] };
  for (let bin = first; bin <= last; bin += step) {
    const end = Math.min(bin + step, last + 1);
    joined.edges.push(edges[end]);
    joined.targets.push(total(targets.slice(bin, end)));
    joined.nonTargets.push(total(nonTargets.slice(bin, end)));
  }
  return joined;
}

/** Counts as heights: densities relative to the largest of them. */
export function heights(edges, counts) {
  const density = counts.map((count, bin) => count / (edges[bin + 1] - edges[bin]));
  const most = Math.max(...density);
  return density.map((one) => (most > 0 ? one / most : 0));
}

/** Round values to label an axis with, some `count` of them. */
export function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step); at * step <= high + 1e-9; at += 1) found.push(Number((at * step).toFixed(10)));
  return found;
}

/** A ratio with two digits that count, never more than it is. */
function rounded(ratio) {
  const power = 10 ** (Math.floor(Math.log10(ratio)) - 1);
  return Number((Math.floor(ratio / power + 1e-9) * power).toPrecision(2));
}

/**
 * A natural log-likelihood ratio in everyday terms.
 *
 * @param most ratio beyond which nothing is claimed: so many pairs cannot show more
 * @returns {{side: "same"|"different"|"neither", strength: string, ratio: number, beyond: boolean}}
 */
export function likelihood(llr, most = 1e6) {
  const ratio = Math.exp(Math.abs(llr));
  const side = ratio < 1.5 ? "neither" : llr > 0 ? "same" : "different";
  const limits = [["slight", 10], ["clear", 100], ["strong", 1000], ["veryStrong", Infinity]];
  const [strength] = limits.find(([, limit]) => Math.min(ratio, most) < limit);
  const beyond = ratio > most;
  return { side, strength, ratio: rounded(beyond ? most : ratio), beyond };
}
