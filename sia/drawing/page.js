"use strict";
const report = /*DATA*/null;
const at = id => document.getElementById(id);
const plural = (count, one) => `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

function make(tag, attributes = {}, ...children) { // children that are text stay text, whatever is in them
  const svg = ["svg", "image", "rect", "circle", "text", "g", "line", "path", "title"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value); else node.setAttribute(key, value);
  }
  node.append(...children.filter(child => child !== null));
  return node;
}

function tile(value, text, style = "") { return make("div", { class: "tile" }, make("b", { class: style }, value), text); }

function bars(title, rows, legend) { // rows of { name, parts: [[style, value]], of, text }
  const most = Math.max(1, ...rows.map(row => row.parts.reduce((sum, part) => sum + part[1], 0)));
  return make("div", { class: "panel" }, make("h3", {}, title, ...legend.map(([style, text]) =>
    make("span", { class: "legend soft", style: "font-weight: 400; font-size: 13px" }, make("span", { class: style }), text))),
    ...rows.map(row => make("div", { class: "rate", style: "height: auto; background: none; overflow: visible; display: grid" }, make("span", { class: "soft" }, row.name),
      make("div", {}, ...row.parts.map(([style, value]) => make("span", { class: style, style: `width: ${100 * value / (row.of ?? most)}%`, title: `${style} ${value}` }))), make("b", {}, row.text))));
}
