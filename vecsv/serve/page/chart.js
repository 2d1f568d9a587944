// A score on the calibrated scale: behind it how pairs of one person and pairs of two people scored.

import { freshId, s } from "./dom.js";
import { number, score as shown, t } from "./i18n.js";
import { coarser, heights, ticks } from "./scale.js";

const HEIGHT = 210;
const TOP = 54;
const FLOOR = 178;
const SIDE = 10;
const LETTER = 7.5;

/**
 * An SVG that redraws itself to fit its place.
 *
 * @param histogram {edges, targets, non_targets} of the calibration
 * @param threshold where decisions change, or null
 * @param marks scores to show; the first with a bubble, the others as ticks
 * @param words what it shows, for those who do not see it
 */
export function chart({ histogram, threshold, marks, words }) {
  const title = s("title", { id: freshId("chart") });
  title.textContent = words;
  const picture = s("svg", { class: "chart", role: "img", "aria-labelledby": title.id, height: HEIGHT });
  const bins = coarser(histogram);
  const draw = () => {
    const width = picture.clientWidth;
    if (!width) return;
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    picture.replaceChildren(title, ...parts(bins, threshold, marks, width));
  };
  new ResizeObserver(draw).observe(picture);
  return picture;
}

function parts(bins, threshold, marks, width) {
  const all = [bins.edges[0], bins.edges.at(-1), ...marks, ...(threshold === null ? [] : [threshold])];
  const low = Math.min(...all);
  const margin = (Math.max(...all) - low) * 0.04;
  const [from, to] = [low - margin, Math.max(...all) + margin];
  const x = (value) => SIDE + ((value - from) / (to - from)) * (width - 2 * SIDE);
  const hills = [hill(bins, bins.nonTargets, "different", x, width), hill(bins, bins.targets, "same", x, width)].filter(Boolean);
  return [
    ...hills.map(({ path }) => path),
    ...axis(from, to, x, width),
    ...(threshold === null ? [] : limit(threshold, x, width, marks[0])),
    ...marks.slice(1).map((mark) => s("line", { class: "tick", x1: x(mark), x2: x(mark), y1: FLOOR - 12, y2: FLOOR })),
    ...(marks.length ? pointer(marks[0], x, width) : []),
    // Last, so that no line runs through the words.
    ...hills.map(({ name }) => name),
  ];
}

function hill(bins, counts, kind, x, width) {
  const first = counts.findIndex((count) => count > 0);
  if (first < 0) return null;
  const last = counts.findLastIndex((count) => count > 0);
  const y = heights(bins.edges, counts).map((height) => FLOOR - height * (FLOOR - TOP - 20));
  const steps = [];
  for (let bin = first; bin <= last; bin += 1) steps.push(`V${y[bin].toFixed(1)}H${x(bins.edges[bin + 1]).toFixed(1)}`);
  const path = s("path", { class: `of-${kind}`, d: `M${x(bins.edges[first]).toFixed(1)} ${FLOOR}${steps.join("")}V${FLOOR}z` });
  const summit = y.indexOf(Math.min(...y));
  const words = t(`chart.${kind}`);
  const at = within(x((bins.edges[summit] + bins.edges[summit + 1]) / 2), wide(words) / 2, width);
  return { path, name: text(words, { class: `name-${kind}`, x: at, y: TOP + 12, "text-anchor": "middle" }) };
}

function axis(from, to, x, width) {
  const line = s("line", { class: "axis", x1: SIDE, x2: width - SIDE, y1: FLOOR + 0.5, y2: FLOOR + 0.5 });
  const labels = ticks(from, to, Math.max(4, Math.min(8, width / 80))).map((value) => [
    s("line", { class: "axis", x1: x(value), x2: x(value), y1: FLOOR, y2: FLOOR + 5 }),
    text(number(value), { x: x(value), y: FLOOR + 19, "text-anchor": "middle" }),
  ]);
  return [line, ...labels.flat()];
}

function limit(threshold, x, width, mark) {
  const name = t("chart.threshold", { threshold: shown(threshold) });
  const at = x(threshold);
  const room = wide(name) + 6;
  const inTheWay = mark !== undefined && x(mark) >= at && x(mark) < at + room;
  const before = at + room > width || (inTheWay && at > room);
  return [
    s("line", { class: "threshold", x1: at, x2: at, y1: 38, y2: FLOOR }),
    text(name, { class: "threshold-name", x: before ? at - 6 : at + 6, y: 47, "text-anchor": before ? "end" : "start" }),
  ];
}

function pointer(mark, x, width) {
  const at = x(mark);
  const label = shown(mark);
  const centre = within(at, 28, width);
  return [
    s("line", { class: "score", x1: at, x2: at, y1: 26, y2: FLOOR }),
    s("circle", { class: "knob", cx: at, cy: FLOOR, r: 6 }),
    s("rect", { class: "bubble", x: centre - 26, y: 2, width: 52, height: 25, rx: 12.5 }),
    text(label, { class: "bubble-text", x: centre, y: 19.5 }),
  ];
}

function text(words, attributes) {
  return s("text", attributes, words);
}

/** About how wide words are drawn; Chinese ones take about twice the room a letter does. */
function wide(words) {
  return [...words].reduce((sum, letter) => sum + (letter.charCodeAt(0) > 0x2e80 ? 2 * LETTER - 2 : LETTER - 0.5), 0);
}

/** A centre moved so that what has this half width stays in the picture. */
function within(centre, half, width) {
  return Math.min(Math.max(centre, half + 2), width - half - 2);
}
