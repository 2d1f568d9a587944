// Elements made without markup in strings: nothing a server or a file name says is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element; attributes that begin with "on" are listeners, children that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** An icon out of path data, for buttons that have a name of their own. */
export function icon(data, className = "") {
  const path = s("path", { d: data, fill: "currentColor" });
  return s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", class: className }, path);
}

/** Say something to those who listen to the page. */
export function announce(text) {
  const place = document.getElementById("announcement");
  place.textContent = "";
  // A change of text is what is read out: the same words twice need a moment between them.
  setTimeout(() => { place.textContent = text; }, 60);
}

/** Bring an answer into view and move the reader there. */
export function lead(element) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
}

let numbers = 0;

/** A new id, to tie a label to what it names. */
export function freshId(stem) {
  numbers += 1;
  return `${stem}-${numbers}`;
}
